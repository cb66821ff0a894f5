"""Norms and values of init=vocabulary, random and cross."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.tiny import WIDTH, tiny_module, tiny_tokenizer
from tinv.concept import Concept
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, write

TOKENIZER = tiny_tokenizer()
TABLE = torch.randn(len(TOKENIZER), 64, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.01
TOY = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
ENCODERS = {"tokenizers": {"clip_l": TOKENIZER}, "tables": {"clip_l": TABLE}}


def init(**settings):
    return EmbeddingConfig(**settings).init_parameters(TOY, **ENCODERS, seed=0).weights["clip_l"].detach()


def test_the_mean_of_the_vocabulary_has_a_small_norm():
    """|mean|^2 = mean |word|^2 - the variance in all directions."""
    mean = init(init="vocabulary")[0]
    torch.testing.assert_close(mean, TABLE.mean(dim=0))
    variance = (TABLE - TABLE.mean(dim=0)).square().sum(dim=1).mean()
    torch.testing.assert_close(mean.norm() ** 2, TABLE.square().sum(dim=1).mean() - variance)
    assert mean.norm() < 0.5 * TABLE.norm(dim=1).median()


def test_random_vectors_have_the_norms_of_words():
    """torch.rand would give norms of sqrt(D / 3): 16 where words have 0.4."""
    norms = init(init="random", num_vectors=50).norm(dim=1)
    word_norms = TABLE.norm(dim=1)
    assert norms.mean() == pytest.approx(word_norms.mean().item(), rel=0.05)
    assert norms.max() < 2 * word_norms.median() < 0.3 * math.sqrt(64 / 3)


def init_cross(model, words, num_vectors=1):
    concept = Concept(placeholder_token="<cat-toy>", initializer_token=words)
    module = tiny_module(model, concept=concept, init="cross", num_vectors=num_vectors)
    return module.learned_tokens[0].embedding.weights["clip_l"].detach()


def test_cross_is_the_text_encoders_output(model):
    """The last hidden state of transformers' own model at the position of the word."""
    ids = model.tokenizer("toy", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.text_encoder(ids).last_hidden_state[0, 1]
    assert torch.equal(init_cross(model, "toy")[0], expected)


def test_cross_repeats_the_initializers_tokens(model):
    ids = model.tokenizer("red cat", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.text_encoder(ids).last_hidden_state[0, 1:3]
    assert torch.equal(init_cross(model, "red cat", num_vectors=3), expected[[0, 1, 0]])


def test_cross_has_another_norm_and_direction_than_the_word(model):
    vector, word = init_cross(model, "toy"), tiny_module(model).learned_tokens[0].embedding.weights["clip_l"].detach()
    assert vector.norm() > 5 * word.norm()
    assert cosine_similarity(vector, word).abs() < 0.9
    assert vector.norm() == pytest.approx(math.sqrt(WIDTH), rel=0.2), "the norm after a layer norm"


def test_cross_rejects_too_many_tokens_and_norm_constraints():
    with pytest.raises(UserError, match="2 tokens"):
        EmbeddingConfig(init="cross").check(
            Concept(placeholder_token="<x>", initializer_token="red cat"), TOKENIZER, {}
        )
    for norm in ("fixed", "soft", "directional"):
        with pytest.raises(UserError, match=f"embedding.norm={norm} would change. Set embedding.norm=free"):
            EmbeddingConfig(init="cross", norm=norm)


def test_the_initializer_token_is_recorded_if_it_is_used(model):
    assert tiny_module(model, init="cross").learned_embeddings()[0].provenance["initializer_token"] == "toy"
    assert tiny_module(model, init="vocabulary").learned_embeddings()[0].provenance["initializer_token"] == ""


@pytest.mark.parametrize(("value", "problem"), [(0, "1 of 1 vectors of clip_l are all zeros"), (3e38, "has a norm of")])
def test_training_does_not_start_from_vectors_without_meaning(tmp_path, value, problem):
    file = tmp_path / "learned_embeds.safetensors"
    write(file, LearnedEmbedding("<cat>", {"clip_l": torch.full((1, 64), float(value))}))
    with pytest.raises(UserError, match=rf"embedding\.init_file=.*{problem}"):
        EmbeddingConfig(init="file", init_file=str(file)).check(TOY, TOKENIZER, {})
