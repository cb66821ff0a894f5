"""Embeddings that do not fit a model are refused, and vectors that it cannot use cause a warning."""

import pytest
import torch

from tests.tiny import WIDTH
from tinv.formats import LearnedEmbedding
from tinv.models.check_fit import check_fit


@pytest.mark.parametrize(("value", "problem"), [(0, "1 of 1 vectors of clip_l are all zeros"), (1e30, "has a norm of")])
def test_vectors_that_no_model_can_use_cause_a_warning(model, value, problem):
    with pytest.warns(UserWarning, match=f"<cat>: .*{problem}"):
        check_fit([LearnedEmbedding("<cat>", {"clip_l": torch.full((1, WIDTH), float(value))})], model)
