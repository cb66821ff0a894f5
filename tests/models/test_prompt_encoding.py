"""What encoding through a pipeline changes; test_transformer_families.py compares the rest with the pipeline's own."""

from functools import partial

import pytest
import torch

from tests.models.published_transformers import flux1, random_rows, stable_diffusion_3
from tinv.models import LatentDiffusion
from tinv.models.families import TRANSFORMERS

BUILDERS = {
    "flux1_dev": partial(flux1, is_distilled=True),
    "sd35_large": partial(stable_diffusion_3, dual_attention_layers=()),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_pooled_vectors_are_taken_at_the_true_end_of_text(name):
    """Published configurations have `eos_token_id: 2`: transformers takes it at the largest id, a learned token's."""
    pooled = []
    for pipeline in (BUILDERS[name](eos=2), BUILDERS[name]()):
        family = TRANSFORMERS[type(pipeline).__name__]
        components = {part: getattr(pipeline, part) for part in (*family.tokenizers, *family.modules, "scheduler")}
        model = LatentDiffusion(family, components, name="tiny")
        pooled.append(
            model.encode_text(["a photo of a <cat-toy> on the beach"], {"<cat-toy>": random_rows(name)}).pooled
        )
    assert torch.equal(*pooled)
