"""The tokenizer of the flow model's T5: a Unigram in T5's format, with the words of captions as single pieces."""

import math
import struct
from collections import Counter
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits, punctuation

from transformers import T5Tokenizer

from tinv.toybox.captions import EXTRA_WORDS

SPECIAL = ("<pad>", "</s>", "<unk>")
SPACE = "▁"
"""Begins a word, as in SentencePiece."""
CHARACTERS = ascii_lowercase + digits + punctuation
"""Pieces that spell any other word."""
MAX_LENGTH = 64
"""Longest text in tokens. tinv pads captions to it; a published T5's tokenizer has 512."""


def train_t5_tokenizer(captions: list[str]) -> T5Tokenizer:
    """Returns a T5Tokenizer whose pieces are the words of the captions, the words of likely prompts, and characters.

    A piece's score is the logarithm of its frequency. A character scores lower than every word, so a text is split
    into as few pieces as possible.
    """
    words = Counter(word for caption in captions for word in caption.split())
    words.update(EXTRA_WORDS)
    total = sum(words.values())
    ranked = sorted(words, key=lambda word: (-words[word], word))
    rare = -math.log(total) - 1
    pieces = [(piece, 0.0) for piece in SPECIAL]
    pieces += [(SPACE + word, math.log(words[word] / total)) for word in ranked]
    pieces += [(character, rare) for character in (SPACE, *CHARACTERS)]
    return T5Tokenizer(
        vocab=pieces, extra_ids=0, model_max_length=MAX_LENGTH, _spm_precompiled_charsmap=lower_case_map()
    )


def lower_case_map() -> bytes:
    """Returns SentencePiece's table of replacements for A to Z, the only normalization that `T5Tokenizer` keeps.

    The format is the size of a double-array trie (Darts-clone), the trie, and the replacements, each ended by a zero.
    A node's unit is `offset << 10 | has_leaf << 8 | label`; the child with label c of node n is at `n ^ offset ^ c`;
    a leaf's unit is the position of the replacement, with the highest bit set.
    """
    root_offset, first_leaf = 256, 512
    units = [root_offset << 10] + [0] * (first_leaf + len(ascii_uppercase) - 1)
    for index, letter in enumerate(ascii_uppercase):
        node, leaf = root_offset ^ ord(letter), first_leaf + index
        units[node] = (node ^ leaf) << 10 | 1 << 8 | ord(letter)
        units[leaf] = 1 << 31 | 2 * index
    trie = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(trie)) + trie + b"".join(letter.encode() + b"\0" for letter in ascii_lowercase)


def make_t5_tokenizer(out: Path, captions: list[list[str]]) -> None:
    """Trains the tokenizer into `out/tokenizer_2`, unless it is there."""
    folder = out / "tokenizer_2"
    if folder.exists():
        return
    tokenizer = train_t5_tokenizer([caption for several in captions[:20000] for caption in several])
    partial = out / "tokenizer_2.part"
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    print(f"t5 tokenizer: {len(tokenizer)} pieces", flush=True)


def load_t5_tokenizer(out: Path) -> T5Tokenizer:
    """Loads the tokenizer."""
    return T5Tokenizer.from_pretrained(out / "tokenizer_2")
