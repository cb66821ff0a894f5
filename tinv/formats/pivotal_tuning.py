"""The files of pivotal tuning: `embeddings.pti` of cog-sdxl, and the embeddings in cloneofsimo's "safeloras"."""

import json
from pathlib import Path

from tinv.formats.content import Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.placeholder import check_token, read_text_beside, resolve_token
from tinv.formats.tensors import read_vectors, split_by_encoder

NAME = "pivotal tuning"
_ENCODERS = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g"}
_MARK = "<embed>"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embedding of an `embeddings.pti`, named in `special_params.json`, or those of a safelora."""
    path = content.path
    if "text_encoders_0" in content.names and set(content.names).issubset(_ENCODERS):
        vectors = {_ENCODERS[name]: read_vectors(path, name, content.root[name]) for name in content.names}
        return [LearnedEmbedding(resolve_token(content, _special_token(path)), vectors)]
    names = set(content.names)
    marked = [name for name, text in content.metadata.items() if text == _MARK and name in names]
    return [
        LearnedEmbedding(
            check_token(path, name),
            split_by_encoder(read_vectors(path, name, content.root[name])),
            has_guessed_encoders=True,
        )
        for name in marked
    ] or None


def _special_token(path: Path) -> str | None:
    """Returns the token that stands for the others, `TOK` in {"TOK": "<s0><s1>"}."""
    try:
        tokens = json.loads(read_text_beside(path, "special_params.json") or "{}")
    except (ValueError, RecursionError):
        return None
    return next(iter(tokens), None) if isinstance(tokens, dict) else None
