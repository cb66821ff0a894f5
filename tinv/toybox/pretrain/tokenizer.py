"""Stage 2, tokenizer: byte-pair encoding in CLIP's format, with the words of captions as single tokens."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer

from tinv.toybox.captions import EXTRA_WORDS

VOCABULARY = 2000
"""Upper limit; training stops earlier, when every frequent word is a single token."""
MIN_FREQUENCY = 50
END = "</w>"


def train_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """Returns a CLIPTokenizer for these captions.

    Normalizer and pre-tokenizer are CLIP's; the vocabulary is in CLIP's order: bytes, bytes that end a word,
    merges, and the two special tokens last.
    """
    clip = CLIPTokenizer()
    bpe = Tokenizer(BPE(end_of_word_suffix=END, continuing_subword_prefix="", unk_token=None))
    bpe.normalizer = clip.backend_tokenizer.normalizer
    bpe.pre_tokenizer = clip.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=MIN_FREQUENCY,
        initial_alphabet=alphabet,
        end_of_word_suffix=END,
        show_progress=False,
    )
    bpe.train_from_iterator([*captions, *(word for word in EXTRA_WORDS for _ in range(10 * MIN_FREQUENCY))], trainer)
    merges = merges_of(bpe)
    words = [*alphabet, *(letter + END for letter in alphabet), *(a + b for a, b in merges)]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def merges_of(bpe: Tokenizer) -> list[tuple[str, str]]:
    """Returns the merges of a trained tokenizer, most frequent first."""
    return [(a, b) for a, b in json.loads(bpe.to_str())["model"]["merges"]]


def make_tokenizer(out: Path, captions: list[list[str]]) -> None:
    """Trains the tokenizer into `out/tokenizer`, unless it is there."""
    folder = out / "tokenizer"
    if folder.exists():
        return
    tokenizer = train_tokenizer([caption for several in captions[:20000] for caption in several])
    partial = out / "tokenizer.part"
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)


def load_tokenizer(out: Path) -> CLIPTokenizer:
    """Loads the tokenizer."""
    return CLIPTokenizer.from_pretrained(out / "tokenizer")
