"""Rows that are held as long as words are."""

import pytest
import torch

from tests.tiny import tiny_tokenizer
from tinv.concept import Concept
from tinv.embeddings import EmbeddingConfig, TokenParameters
from tinv.embeddings.norm_constraint import NormConstraint
from tinv.errors import UserError

TOKENIZER = tiny_tokenizer()
TABLE = torch.randn(len(TOKENIZER), 8, generator=torch.Generator().manual_seed(0)) * 0.02
MEDIAN = TABLE.norm(dim=1).median().item()


def some_rows(*norms: float) -> TokenParameters:
    directions = torch.nn.functional.normalize(torch.randn(len(norms), 8), dim=1)
    return TokenParameters("<cat-toy>", {"clip_l": torch.tensor(norms)[:, None] * directions})


def test_a_fixed_norm_is_the_vocabularys_median_and_leaves_the_direction():
    rows = some_rows(20.0, 0.001, MEDIAN)
    before = rows.weights["clip_l"].detach().clone()
    EmbeddingConfig(norm="fixed").build_norm_constraint({"clip_l": TABLE})(rows)
    after = rows.weights["clip_l"].detach()
    torch.testing.assert_close(after.norm(dim=1), torch.full((3,), MEDIAN))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(before, after), torch.ones(3))


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_a_soft_norm_goes_its_share_of_the_way(strength):
    rows = some_rows(20.0, 0.001)
    before = rows.weights["clip_l"].detach().norm(dim=1)
    EmbeddingConfig(norm="soft", norm_strength=strength).build_norm_constraint({"clip_l": TABLE})(rows)
    ratio = rows.weights["clip_l"].detach().norm(dim=1) / before
    torch.testing.assert_close(ratio.log(), strength * (MEDIAN / before).log())


def test_each_encoder_has_its_own_length():
    rows = TokenParameters("<cat-toy>", {"clip_l": torch.ones(1, 4), "clip_g": torch.ones(1, 9)})
    EmbeddingConfig(norm="fixed").build_norm_constraint(
        {"clip_l": torch.full((5, 4), 2.0), "clip_g": torch.full((5, 9), 3.0)}
    )(rows)
    norms = {encoder: parameter.detach().norm().item() for encoder, parameter in rows.weights.items()}
    assert norms == pytest.approx({"clip_l": 4.0, "clip_g": 9.0})


def test_a_row_of_nothing_stays_finite():
    rows = TokenParameters("<cat-toy>", {"clip_l": torch.zeros(1, 8)})
    NormConstraint({"clip_l": 1.0}, strength=1.0)(rows)
    assert rows.weights["clip_l"].isfinite().all()


@pytest.mark.parametrize(("norm", "held"), [("fixed", True), ("soft", False), ("free", False)])
def test_only_a_fixed_norm_holds_from_the_start(norm, held):
    embedding = EmbeddingConfig(norm=norm, init_noise=1.0, num_vectors=3)
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    rows = embedding.init_parameters(concept, tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE}, seed=0)
    norms = rows.weights["clip_l"].detach().norm(dim=1)
    assert torch.allclose(norms, torch.full((3,), MEDIAN)) == held


def test_a_free_norm_is_nobodys_business():
    assert EmbeddingConfig().build_norm_constraint({"clip_l": TABLE}) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"norm": "hard"}, "embedding.norm must be one of free, fixed, soft, directional, got 'hard'"),
        ({"norm_strength": 0.0}, "embedding.norm_strength must be above 0 and at most 1, got 0.0"),
        ({"norm_strength": 1.5}, "embedding.norm_strength must be above 0 and at most 1, got 1.5"),
        ({"ema": 1.0}, "embedding.ema must be 0 or more and less than 1, got 1.0"),
        ({"ema": -0.1}, "embedding.ema must be 0 or more and less than 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(UserError) as caught:
        EmbeddingConfig(**settings)
    assert said in str(caught.value)
