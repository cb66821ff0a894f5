"""Pivotal tuning's layouts: cog-sdxl's `embeddings.pti`, and the words in cloneofsimo's "safeloras"."""

import json
from pathlib import Path

from tinv.formats.content import Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.placeholder import note, usable, word_of
from tinv.formats.tensors import by_encoder, rows_of

NAME = "pivotal tuning"
_ENCODERS = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g"}
_MARK = "<embed>"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The word of an `embeddings.pti`, called as `special_params.json` beside it says; or those of a safelora."""
    if "text_encoders_0" in content.names and set(content.names).issubset(_ENCODERS):
        rows = {_ENCODERS[name]: rows_of(content.path, name, content.root[name]) for name in content.names}
        return [LearnedEmbedding(word_of(content, _special_word(content.path)), rows)]
    marked = [name for name, text in content.metadata.items() if text == _MARK and name in content.names]
    return [
        LearnedEmbedding(usable(content.path, name), by_encoder(rows_of(content.path, name, content.root[name])))
        for name in marked
    ] or None


def _special_word(path: Path) -> str | None:
    """The word that stands for the tokens, `TOK` in {"TOK": "<s0><s1>"}."""
    try:
        words = json.loads(note(path, "special_params.json") or "{}")
    except (ValueError, RecursionError):
        return None
    return next(iter(words), None) if isinstance(words, dict) else None
