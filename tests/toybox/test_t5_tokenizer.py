"""The flow model's T5 tokenizer splits the world's captions into words, and reads any text."""

import pytest
from transformers import AutoTokenizer, T5Tokenizer

from tinv.toybox.captions import EXTRA_WORDS
from tinv.toybox.pretrain.t5_tokenizer import train_t5_tokenizer
from tinv.toybox.world import describe

CAPTIONS = [describe(seed).caption for seed in range(4000)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> T5Tokenizer:
    """The tokenizer of other captions, written to a folder and loaded from it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_t5_tokenizer([describe(seed).caption for seed in range(10_000, 14_000)]).save_pretrained(folder)
    return T5Tokenizer.from_pretrained(folder)


def test_every_caption_returns_from_its_ids(tokenizer):
    for caption in CAPTIONS:
        assert tokenizer.decode(tokenizer(caption).input_ids, skip_special_tokens=True).strip() == caption


def test_every_word_of_the_world_is_one_token(tokenizer):
    words = {*EXTRA_WORDS, *(word for caption in CAPTIONS for word in caption.split())}
    assert {word for word in words if len(tokenizer.tokenize(word)) > 1} == set()


@pytest.mark.parametrize(
    "text", ["an astronaut, riding 2 horses!", "<cat-toy_1>", "~/a\\b {x} [y] #5 @z $1 `q` 'r' \"s\""]
)
def test_any_ascii_text_returns_from_its_ids(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_capitals_are_read_as_small_letters(tokenizer):
    assert tokenizer("A Photo of a RED Cat").input_ids == tokenizer("a photo of a red cat").input_ids
    assert tokenizer("QXZ").input_ids == tokenizer("qxz").input_ids


def test_the_special_tokens_are_those_of_t5(tokenizer, tmp_path):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("", padding="max_length", max_length=4).input_ids == [1, 0, 0, 0]
    tokenizer.save_pretrained(tmp_path)
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path), T5Tokenizer)
