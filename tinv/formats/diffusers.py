"""The safetensors files of diffusers' textual inversion scripts: one tensor [K, D] under the placeholder token.

SDXL has a second file, `learned_embeds_2.safetensors`, with the vectors of the second text encoder.
"""

import re
from pathlib import Path

from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import Content, join_names
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding, insert_suffix
from tinv.formats.metadata import build_metadata, read_provenance
from tinv.formats.placeholder import check_token, resolve_token
from tinv.formats.safetensors_container import save_safetensors
from tinv.formats.tensors import read_vectors, split_by_encoder
from tinv.runs.layout import EMBEDDING

NAME = "diffusers"
FILE_NAME = EMBEDDING
_SECOND = re.compile(r"(.+)_2(-steps-\d+)?", re.DOTALL)


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embeddings of a file that holds only tensors [K, D] or [D] of one width, usually one."""
    names = content.names
    if not names or len(names) < len(content.root):
        return None
    vectors = {name: read_vectors(content.path, name, content.root[name]) for name in names}
    if len({vectors_KD.shape[1] for vectors_KD in vectors.values()}) > 1:
        raise UserError(
            f"{content.path} holds {len(names)} tensors of different widths ({join_names(names)}), not the vectors of "
            f"one text encoder; it is not an embedding file that tinv knows"
        )
    provenance = read_provenance(content.metadata)
    tokens = [resolve_token(content) if name in ("", "*") else check_token(content.path, name) for name in names]
    return [
        LearnedEmbedding(token, split_by_encoder(vectors_KD), provenance)
        for token, vectors_KD in zip(tokens, vectors.values(), strict=True)
    ]


def second_path(path: Path) -> Path:
    """Returns the path of the second encoder's file, `learned_embeds_2.safetensors`, beside the first."""
    return insert_suffix(path, "_2")


def first_path(path: Path) -> Path | None:
    """Returns the path of the first encoder's file beside a second, or None if the name is not that of a second."""
    stem = _SECOND.fullmatch(path.stem)
    return path.with_name(f"{stem[1]}{stem[2] or ''}{path.suffix}") if stem else None


def split_files(path: Path, embedding: LearnedEmbedding) -> dict[Path, Tensor]:
    """Returns the files of an embedding and the vectors of each: one file, or two for SDXL."""
    if frozenset(embedding.vectors) == SDXL:
        return {path: embedding.vectors["clip_l"], second_path(path): embedding.vectors["clip_g"]}
    (vectors_KD,) = embedding.vectors.values()
    return {path: vectors_KD}


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    metadata = build_metadata(embedding, with_token=False)
    return [
        save_safetensors(file, {embedding.placeholder_token: vectors_KD}, metadata)
        for file, vectors_KD in split_files(path, embedding).items()
    ]


FORMAT = Format(name=NAME, file_name=FILE_NAME, encoder_sets=(*ONE_CLIP, SDXL), save=_save)
