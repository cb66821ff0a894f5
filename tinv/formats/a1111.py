"""AUTOMATIC1111's layout, which Rinon Gal's first trainer began: `string_to_param`, with the word beside it.

The web UI takes the file's name for the word, and SDXL's vectors as `clip_l` and `clip_g` in the same kind of file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.formats.content import Content
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import provenance_of
from tinv.formats.placeholder import usable, word_of
from tinv.formats.tensors import by_encoder, rows_of
from tinv.formats.torch_container import save_torch
from tinv.runs.files import atomic

NAME = "AUTOMATIC1111"
_PROVENANCE = "provenance"
_TEXTS = ("step", "sd_checkpoint", "sd_checkpoint_name")


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The words under `string_to_param`: one called `*`, or several by their own names."""
    if "string_to_param" not in content.names:
        return None
    vectors = content.root["string_to_param"]
    if not isinstance(vectors, Mapping) or not vectors or not all(isinstance(name, str) for name in vectors):
        raise UserError(f"{content.path} is an embedding of AUTOMATIC1111's web UI without vectors in it")
    name = content.root.get("name")
    name = name if isinstance(name, str) else None
    provenance = _provenance(content.root)
    return [
        LearnedEmbedding(
            word_of(content, name) if word == "*" else usable(content.path, word),
            by_encoder(rows_of(content.path, word, rows)),
            provenance,
        )
        for word, rows in vectors.items()
    ]


def tree(learned: LearnedEmbedding) -> dict[str, Any]:
    """What the web UI expects in its files, and our own note of where the word comes from."""
    if frozenset(learned.vectors) == SDXL:
        return dict(learned.vectors)
    (rows_KD,) = learned.vectors.values()
    told = learned.provenance
    steps = told.get("steps", "")
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": rows_KD},
        "name": learned.placeholder_token,
        "step": int(steps) if steps.isascii() and steps.isdecimal() else None,
        "sd_checkpoint": told.get("sd_checkpoint"),
        "sd_checkpoint_name": told.get("sd_checkpoint_name") or told.get("base_model"),
        _PROVENANCE: dict(told),
    }


def _provenance(root: Mapping[str, Any]) -> dict[str, str]:
    ours = root.get(_PROVENANCE)
    if isinstance(ours, Mapping):
        return provenance_of(
            {key: text for key, text in ours.items() if isinstance(key, str) and isinstance(text, str)}
        )
    theirs = {key: root.get(key) for key in _TEXTS}
    return provenance_of({key: str(value) for key, value in theirs.items() if isinstance(value, str | int)})


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    with atomic(path) as draft:
        save_torch(draft, tree(learned))
    return [path]


FORMAT = Format(name="a1111", file_name="{slug}.pt", holds=(*ONE_CLIP, SDXL), save=_save)
