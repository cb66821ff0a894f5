"""The negative of a word: an ordinary word of its own, in a file of its own beside the word's, for negative prompts.

It is called after the word, `<cat-toy-neg>` or `my-mug-neg`, and its file, `learned_embeds-neg.safetensors`, after the
word's, as DreamArtist's web UI began it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import NEGATIVE, OF
from tinv.token_parts import NEGATIVE as PART
from tinv.token_parts import has_negative, join_key, select_part

_ENDING = "-neg"
_STEPS = re.compile(r"(.+?)(-steps-\d+)?")
_WORD = re.compile(r"(.*\w|)(\W*)", re.DOTALL)


def halves(learned: LearnedEmbedding) -> list[LearnedEmbedding]:
    """A word and its negative as two ordinary words that name each other; any other word as it is."""
    if not has_negative(learned.vectors):
        return [learned]
    word, name = learned.placeholder_token, negative_of(learned.placeholder_token)
    told = learned.provenance
    return [
        LearnedEmbedding(word, select_part(learned.vectors, ""), {**told, NEGATIVE: name}),
        LearnedEmbedding(name, select_part(learned.vectors, PART), {**told, OF: word}),
    ]


def with_negative(path: Path, learned: LearnedEmbedding, recognise: Callable[[Path], Any]) -> LearnedEmbedding:
    """The word of a file with its negative, if it names one whose file is there.

    Args:
        path: the word's file.
        learned: what it holds.
        recognise: finds out what another file holds.
    """
    name, place = learned.provenance.get(NEGATIVE), beside(path)
    if name is None or not place.is_file():
        return learned
    (negative,) = recognise(place).learned
    if (negative.placeholder_token, negative.provenance.get(OF)) != (name, learned.placeholder_token):
        return learned
    vectors = {**learned.vectors, **{join_key(encoder, PART): rows for encoder, rows in negative.vectors.items()}}
    told = {key: text for key, text in learned.provenance.items() if key != NEGATIVE}
    return replace(learned, vectors=vectors, provenance=told)


def negative_of(word: str) -> str:
    """What the negative of a word is called: `<cat-toy>` -> `<cat-toy-neg>`."""
    parts = _WORD.fullmatch(word)
    assert parts
    return f"{parts[1]}{_ENDING}{parts[2]}"


def beside(path: Path) -> Path:
    """The file of the negative of the word in a file."""
    stem = _STEPS.fullmatch(path.stem)
    assert stem
    return path.with_name(f"{stem[1]}{_ENDING}{stem[2] or ''}{path.suffix}")
