"""The `.pt` files of AUTOMATIC1111's web UI: vectors under `string_to_param`, the token in `name`.

The layout is that of Rinon Gal's first trainer. The web UI takes the token from the file name; for SDXL it reads the
tensors `clip_l` and `clip_g` from the same kind of file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.formats.content import Content
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import read_provenance
from tinv.formats.placeholder import check_token, resolve_token
from tinv.formats.tensors import read_vectors, split_by_encoder
from tinv.formats.torch_container import save_torch

NAME = "AUTOMATIC1111"
_PROVENANCE = "provenance"
_STANDARD_KEYS = ("step", "sd_checkpoint", "sd_checkpoint_name")


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embeddings under `string_to_param`: one called `*`, or several under their own tokens."""
    if "string_to_param" not in content.names:
        return None
    vectors = content.root["string_to_param"]
    if not isinstance(vectors, Mapping) or not vectors or not all(isinstance(name, str) for name in vectors):
        raise UserError(f"{content.path} is an embedding file of AUTOMATIC1111's web UI without vectors")
    name = content.root.get("name")
    name = name if isinstance(name, str) else None
    provenance = _read_provenance(content.root)
    return [
        LearnedEmbedding(
            resolve_token(content, name) if token == "*" else check_token(content.path, token),
            split_by_encoder(read_vectors(content.path, token, value)),
            provenance,
            has_guessed_encoders=True,
        )
        for token, value in vectors.items()
    ]


def build_tree(embedding: LearnedEmbedding) -> dict[str, Any]:
    """Returns what the web UI expects in a file, and our provenance."""
    if frozenset(embedding.vectors) == SDXL:
        return dict(embedding.vectors)
    (vectors_KD,) = embedding.vectors.values()
    provenance = embedding.provenance
    steps = provenance.get("steps", "")
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors_KD},
        "name": embedding.placeholder_token,
        "step": int(steps) if steps.isascii() and steps.isdecimal() else None,
        "sd_checkpoint": provenance.get("sd_checkpoint"),
        "sd_checkpoint_name": provenance.get("sd_checkpoint_name") or provenance.get("base_model"),
        _PROVENANCE: dict(provenance),
    }


def _read_provenance(root: Mapping[str, Any]) -> dict[str, str]:
    ours = root.get(_PROVENANCE)
    if isinstance(ours, Mapping):
        return read_provenance({k: text for k, text in ours.items() if isinstance(k, str) and isinstance(text, str)})
    standard = {key: root.get(key) for key in _STANDARD_KEYS}
    return read_provenance({key: str(value) for key, value in standard.items() if isinstance(value, str | int)})


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    return [save_torch(path, build_tree(embedding))]


FORMAT = Format(name="a1111", file_name="{slug}.pt", encoder_sets=(*ONE_CLIP, SDXL), save=_save)
