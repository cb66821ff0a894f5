import pytest
import torch

from tests.tiny import tiny_tokenizer
from tinv.models.text_encoder import PromptTokenizer

V = len(tiny_tokenizer())
TOKENIZER = tiny_tokenizer()


def prompts():
    return PromptTokenizer(TOKENIZER, num_embeddings=V)


@pytest.mark.parametrize("caption", ["a photo of a red cat", "  A  PHOTO,of: a-cat!! ", "", "naïve 数 🐈"])
def test_plain_captions_are_tokenized_as_the_tokenizer_does(caption):
    ids = prompts().ids([caption], {})
    expected = TOKENIZER([caption], padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ids, expected)


@pytest.mark.parametrize(
    "caption",
    ["a photo of a <cat-toy> on the beach", "<cat-toy>", "a <cat-toy>, red", "x<cat-toy>y", "the <CAT-toy>'s dog"],
)
def test_placeholders_are_tokenized_as_added_tokens_are(caption):
    added = tiny_tokenizer.__wrapped__()
    added.add_tokens(["<cat-toy>"])
    assert prompts().ids([caption], {"<cat-toy>": 1})[0].tolist() == added(caption, padding="max_length").input_ids


def test_a_concept_of_k_vectors_takes_k_tokens():
    short, long = (prompts().tokenize("a <cat-toy> on the beach", {"<cat-toy>": count}) for count in (1, 4))
    assert len(long) == len(short) + 3
    assert long[1:5] == [V, V + 1, V + 2, V + 3]


def test_several_concepts_stand_behind_each_other():
    words = {"<cat>": 2, "<dog>": 3}
    assert prompts().tokenize("<dog><cat>", words) == [V + 2, V + 3, V + 4, V, V + 1]


def test_a_word_does_not_fire_inside_another():
    """E-9, E-10: diffusers' tokens fire inside of words, and `zorg` inside of `zorgon`."""
    tokenize = prompts().tokenize
    assert V not in tokenize("asks skss sks1 _sks", {"sks": 1})
    assert tokenize("sks, (sks) sks-like", {"sks": 1}).count(V) == 3
    assert tokenize("a zorgon and a zorg", {"zorg": 1, "zorgon": 2}).count(V) == 1
    assert tokenize("<a-b>", {"<a": 1, "<a-b>": 1}) == [V + 1]


def test_a_caption_that_is_too_long_is_cut_with_a_warning_that_names_it():
    caption = "photo " * 80
    with pytest.warns(UserWarning, match="80 tokens, 75 fit"):
        ids = prompts().ids([caption], {})
    assert torch.equal(ids, TOKENIZER([caption], truncation=True, return_tensors="pt").input_ids)
