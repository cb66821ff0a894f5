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


def random_parameters(*norms: float) -> TokenParameters:
    directions = torch.nn.functional.normalize(torch.randn(len(norms), 8), dim=1)
    return TokenParameters("<cat-toy>", {"clip_l": torch.tensor(norms)[:, None] * directions})


def test_fixed_sets_the_vocabularys_median_norm_and_keeps_the_direction():
    parameters = random_parameters(20.0, 0.001, MEDIAN)
    before = parameters.weights["clip_l"].detach().clone()
    EmbeddingConfig(norm="fixed").build_norm_constraint({"clip_l": TABLE})(parameters)
    after = parameters.weights["clip_l"].detach()
    torch.testing.assert_close(after.norm(dim=1), torch.full((3,), MEDIAN))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(before, after), torch.ones(3))


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_soft_moves_the_log_norm_by_norm_strength(strength):
    parameters = random_parameters(20.0, 0.001)
    before = parameters.weights["clip_l"].detach().norm(dim=1)
    EmbeddingConfig(norm="soft", norm_strength=strength).build_norm_constraint({"clip_l": TABLE})(parameters)
    ratio = parameters.weights["clip_l"].detach().norm(dim=1) / before
    torch.testing.assert_close(ratio.log(), strength * (MEDIAN / before).log())


def test_each_text_encoder_has_its_own_norm():
    parameters = TokenParameters("<cat-toy>", {"clip_l": torch.ones(1, 4), "clip_g": torch.ones(1, 9)})
    EmbeddingConfig(norm="fixed").build_norm_constraint(
        {"clip_l": torch.full((5, 4), 2.0), "clip_g": torch.full((5, 9), 3.0)}
    )(parameters)
    norms = {encoder: parameter.detach().norm().item() for encoder, parameter in parameters.weights.items()}
    assert norms == pytest.approx({"clip_l": 4.0, "clip_g": 9.0})


def test_a_zero_vector_stays_finite():
    parameters = TokenParameters("<cat-toy>", {"clip_l": torch.zeros(1, 8)})
    NormConstraint({"clip_l": 1.0}, strength=1.0)(parameters)
    assert parameters.weights["clip_l"].isfinite().all()


@pytest.mark.parametrize(("norm", "is_exact"), [("fixed", True), ("soft", False), ("free", False)])
def test_only_a_fixed_norm_applies_to_the_initial_values(norm, is_exact):
    embedding = EmbeddingConfig(norm=norm, init_noise=1.0, num_vectors=3)
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    parameters = embedding.init_parameters(concept, tokenizers={"clip_l": TOKENIZER}, tables={"clip_l": TABLE}, seed=0)
    norms = parameters.weights["clip_l"].detach().norm(dim=1)
    assert torch.allclose(norms, torch.full((3,), MEDIAN)) == is_exact


def test_free_has_no_constraint():
    assert EmbeddingConfig().build_norm_constraint({"clip_l": TABLE}) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "hard"}, "embedding.norm=hard: must be one of free, fixed, soft, directional"),
        ({"norm_strength": 0.0}, "embedding.norm_strength=0.0: must be above 0 and at most 1"),
        ({"norm_strength": 1.5}, "embedding.norm_strength=1.5: must be above 0 and at most 1"),
        ({"ema": 1.0}, "embedding.ema=1.0: must be 0 (off) or more, and less than 1"),
        ({"ema": -0.1}, "embedding.ema=-0.1: must be 0 (off) or more, and less than 1"),
    ],
)
def test_settings_out_of_range_are_an_error(settings, message):
    with pytest.raises(UserError) as caught:
        EmbeddingConfig(**settings)
    assert message in str(caught.value)
