"""What Flux.1 has beside the laws of test_transformer_families.py."""

import pytest
import torch

from tests.models.published_transformers import flux1, random_rows
from tinv.models import LatentDiffusion
from tinv.models.flux1 import FLUX1

PROMPT, VECTORS = "a photo of a <cat-toy> on the beach", {"<cat-toy>": random_rows("flux1_dev")}


def model_of(pipeline):
    names = (*FLUX1.tokenizers, *FLUX1.modules, "scheduler")
    return LatentDiffusion(FLUX1, {name: getattr(pipeline, name) for name in names}, name="tiny")


@pytest.mark.parametrize("is_distilled", [True, False])
def test_the_guidance_input_is_1_in_training_where_there_is_one(is_distilled):
    model, inputs = model_of(flux1(is_distilled=is_distilled)), []
    hook = model.transformer.register_forward_pre_hook(
        lambda _, positional, named: inputs.append(named), with_kwargs=True
    )
    with torch.no_grad():
        text = model.encode_text([PROMPT] * 2, VECTORS)
        velocity = model.predict(torch.randn(2, 4, 16, 8), torch.tensor([10.0, 900.0]), text, torch.zeros(2, 6))
    hook.remove()
    (named,) = inputs
    assert velocity.shape == (2, 4, 16, 8)
    assert named["guidance"].tolist() == [1, 1] if is_distilled else named["guidance"] is None
    assert named["timestep"].tolist() == pytest.approx([0.01, 0.9])
