"""Token ids of captions with learned tokens, and the lookup of their vectors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextModel

from tests.tiny import tiny_parts, tiny_tokenizer
from tinv.models.text_encoder import PromptTokenizer, TokenLookup

TOKENIZER = tiny_tokenizer()
FIRST_ID = len(TOKENIZER)
V, K, D = 50, 3, 16
IDS = torch.tensor([[0, 7, V, V + 1, V + 2, 7, V], [1, 2, 3, 4, 5, 6, V - 1]])


@pytest.fixture
def prompts():
    return PromptTokenizer(TOKENIZER, num_embeddings=FIRST_ID)


@pytest.mark.parametrize("caption", ["a photo of a red cat", "  A  PHOTO,of: a-cat!! ", "", "naïve 数 🐈"])
def test_plain_captions_are_tokenized_as_by_the_tokenizer(prompts, caption):
    expected = TOKENIZER([caption], padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(prompts.ids([caption], {}), expected)


@pytest.mark.parametrize(
    "caption",
    ["a photo of a <cat-toy> on the beach", "<cat-toy>", "a <cat-toy>, red", "x<cat-toy>y", "the <CAT-toy>'s dog"],
)
def test_placeholders_are_tokenized_as_added_tokens_are(prompts, caption):
    added = tiny_tokenizer.__wrapped__()
    added.add_tokens(["<cat-toy>"])
    assert prompts.ids([caption], {"<cat-toy>": 1})[0].tolist() == added(caption, padding="max_length").input_ids


def test_a_placeholder_with_k_vectors_takes_k_ids(prompts):
    short, long = (prompts.tokenize("a <cat-toy> on the beach", {"<cat-toy>": count}) for count in (1, 4))
    assert len(long) == len(short) + 3
    assert long[1:5] == [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2, FIRST_ID + 3]


def test_the_ids_of_several_tokens_follow_each_other(prompts):
    offsets = [i - FIRST_ID for i in prompts.tokenize("<dog><cat>", {"<cat>": 2, "<dog>": 3})]
    assert offsets == [2, 3, 4, 0, 1]


def test_a_placeholder_does_not_match_inside_a_word(prompts):
    """diffusers' added tokens match inside words, and `zorg` inside `zorgon`."""
    assert FIRST_ID not in prompts.tokenize("asks skss sks1 _sks", {"sks": 1})
    assert prompts.tokenize("sks, (sks) sks-like", {"sks": 1}).count(FIRST_ID) == 3
    assert prompts.tokenize("a zorgon and a zorg", {"zorg": 1, "zorgon": 2}).count(FIRST_ID) == 1
    assert prompts.tokenize("<a-b>", {"<a": 1, "<a-b>": 1}) == [FIRST_ID + 1]


def test_a_caption_that_is_too_long_is_truncated_with_a_warning(prompts):
    caption = "photo " * 80
    with pytest.warns(UserWarning, match="has 80 tokens, but 75 fit"):
        ids = prompts.ids([caption], {})
    assert torch.equal(ids, TOKENIZER([caption], truncation=True, return_tensors="pt").input_ids)


@pytest.fixture
def tables():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Embedding(V, D), torch.randn(K, D)


def test_the_gradient_is_bit_identical_to_that_of_the_full_table(tables):
    table, start = tables
    full = torch.cat([table.weight.detach(), start]).requires_grad_()
    vectors = start.clone().requires_grad_()
    weights = torch.randn(*IDS.shape, D, generator=torch.Generator().manual_seed(1))
    (F.embedding(IDS, full) * weights).sum().backward()
    token_lookup = TokenLookup(table)
    with token_lookup.with_vectors(vectors):
        output = token_lookup(IDS)
        (output * weights).sum().backward()
    assert torch.equal(output, F.embedding(IDS, full))
    assert torch.equal(vectors.grad, full.grad[V:])


def test_vectors_that_no_id_uses_have_a_gradient_of_zero(tables):
    table, start = tables
    vectors = start.requires_grad_()
    token_lookup = TokenLookup(table)
    with token_lookup.with_vectors(vectors):
        token_lookup(IDS[1:]).sum().backward()
    assert torch.equal(vectors.grad, torch.zeros(K, D))


def test_the_output_has_the_precision_of_the_frozen_table(tables):
    token_lookup = TokenLookup(tables[0].bfloat16())
    with token_lookup.with_vectors(tables[1]):
        assert token_lookup(IDS).dtype == torch.bfloat16


def test_the_vectors_are_removed_even_after_an_error(tables):
    token_lookup = TokenLookup(tables[0])
    with pytest.raises(RuntimeError), token_lookup.with_vectors(tables[1]):
        raise RuntimeError
    with pytest.raises(IndexError):
        token_lookup(IDS)


def test_resizing_the_vocabulary_of_a_token_lookup_raises():
    encoder: CLIPTextModel = tiny_parts()["text_encoder"]
    encoder.set_input_embeddings(TokenLookup(encoder.get_input_embeddings()))
    with pytest.raises(TypeError):
        encoder.resize_token_embeddings(encoder.config.vocab_size + 1)
