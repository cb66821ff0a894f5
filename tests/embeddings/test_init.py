"""Starts that say something about length: the mean of all words, chance, and the text encoder's output."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.tiny import WIDTH, tiny_module, tiny_tokenizer
from tinv.concept import Concept
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError

TOKENIZER = tiny_tokenizer()
TABLE = torch.randn(len(TOKENIZER), 64, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.01
TOY = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
ENCODERS = {"tokenizers": {"clip_l": TOKENIZER}, "tables": {"clip_l": TABLE}}


def started(**settings):
    return EmbeddingConfig(**settings).init_parameters(TOY, **ENCODERS, seed=0).weights["clip_l"].detach()


def test_the_mean_of_all_words_is_as_short_as_their_spread_makes_it():
    """|mean|^2 = mean |word|^2 - the variance in all directions: shorter than any usual word."""
    row = started(init="vocabulary")[0]
    torch.testing.assert_close(row, TABLE.mean(dim=0))
    variance = (TABLE - TABLE.mean(dim=0)).square().sum(dim=1).mean()
    torch.testing.assert_close(row.norm() ** 2, TABLE.square().sum(dim=1).mean() - variance)
    assert row.norm() < 0.5 * TABLE.norm(dim=1).median()


def test_chance_is_as_long_as_words_are_and_not_as_torch_rand_is():
    """The first implementation drew evenly from 0 to 1: rows of length sqrt(D / 3), 16 where words have 0.4."""
    norms = started(init="random", num_vectors=50).norm(dim=1)
    usual = TABLE.norm(dim=1)
    assert norms.mean() == pytest.approx(usual.mean().item(), rel=0.05)
    assert norms.max() < 2 * usual.median() < 0.3 * math.sqrt(64 / 3)


def crossed(model, words, num_vectors=1):
    concept = Concept(placeholder_token="<cat-toy>", initializer_token=words)
    module = tiny_module(model, concept=concept, init="cross", num_vectors=num_vectors)
    return module.learned_tokens[0].embedding.weights["clip_l"].detach()


def test_cross_starts_at_the_text_encoders_output_for_the_word(model):
    """Read through transformers itself: the last hidden state at the word's own place."""
    ids = model.tokenizer("toy", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.text_encoder(ids).last_hidden_state[0, 1]
    assert torch.equal(crossed(model, "toy")[0], expected)


def test_cross_gives_each_token_of_the_initializer_a_row_and_begins_again(model):
    ids = model.tokenizer("red cat", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.text_encoder(ids).last_hidden_state[0, 1:3]
    assert torch.equal(crossed(model, "red cat", num_vectors=3), expected[[0, 1, 0]])


def test_cross_starts_far_longer_than_words_and_elsewhere(model):
    row, word = crossed(model, "toy"), tiny_module(model).learned_tokens[0].embedding.weights["clip_l"].detach()
    assert row.norm() > 5 * word.norm()
    assert cosine_similarity(row, word).abs() < 0.9
    assert row.norm() == pytest.approx(math.sqrt(WIDTH), rel=0.2), "what a layer norm gives"


def test_cross_refuses_more_tokens_than_rows_and_lengths_that_are_held():
    with pytest.raises(UserError, match="is 2 tokens"):
        EmbeddingConfig(init="cross").check(
            Concept(placeholder_token="<x>", initializer_token="red cat"), TOKENIZER, {}
        )
    for norm in ("fixed", "soft", "directional"):
        with pytest.raises(UserError, match=f"embedding.norm={norm} would take from them; set embedding.norm=free"):
            EmbeddingConfig(init="cross", norm=norm)


def test_the_word_that_rows_start_from_is_recorded_where_there_is_one(model):
    assert tiny_module(model, init="cross").learned_embeddings()[0].provenance["initializer_token"] == "toy"
    assert tiny_module(model, init="vocabulary").learned_embeddings()[0].provenance["initializer_token"] == ""
