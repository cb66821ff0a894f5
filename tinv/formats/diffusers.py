"""The safetensors files of diffusers' textual inversion scripts: one tensor [K, D] under the placeholder token.

Models with several text encoders have a file for each: `learned_embeds_2.safetensors` is that of `text_encoder_2`.
"""

import re
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.content import Content, join_names
from tinv.formats.format import Format
from tinv.formats.learned_embedding import LearnedEmbedding, insert_suffix
from tinv.formats.metadata import ENCODER_KEY, build_metadata, read_provenance
from tinv.formats.placeholder import check_token, resolve_token
from tinv.formats.safetensors_container import save_safetensors
from tinv.formats.tensors import read_vectors, split_by_encoder
from tinv.formats.text_encoders import ROLES, in_pipeline_order
from tinv.runs.layout import EMBEDDING

NAME = "diffusers"
FILE_NAME = EMBEDDING
_NUMBERED = re.compile(r"(.+)_[2-9](-steps-\d+)?", re.DOTALL)


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
    encoder = content.metadata.get(ENCODER_KEY)
    return [
        LearnedEmbedding(token, {encoder: vectors_KD}, provenance)
        if encoder in ROLES
        else LearnedEmbedding(token, split_by_encoder(vectors_KD), provenance, has_guessed_encoders=True)
        for token, vectors_KD in zip(tokens, vectors.values(), strict=True)
    ]


def numbered_path(path: Path, number: int) -> Path:
    """Returns the path of the file of `text_encoder_<number>` beside that of `text_encoder`."""
    return insert_suffix(path, f"_{number}") if number > 1 else path


def first_path(path: Path) -> Path | None:
    """Returns the path of the first encoder's file beside another, or None if the name is not that of another."""
    stem = _NUMBERED.fullmatch(path.stem)
    return path.with_name(f"{stem[1]}{stem[2] or ''}{path.suffix}") if stem else None


def split_files(path: Path, embedding: LearnedEmbedding) -> dict[Path, str]:
    """Returns the files of an embedding, and the text encoder of each."""
    return {numbered_path(path, n): role for n, role in enumerate(in_pipeline_order(embedding.vectors), start=1)}


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    metadata = build_metadata(embedding, with_token=False)
    return [
        save_safetensors(file, {embedding.placeholder_token: embedding.vectors[role]}, {**metadata, ENCODER_KEY: role})
        for file, role in split_files(path, embedding).items()
    ]


FORMAT = Format(name=NAME, file_name=FILE_NAME, encoder_sets=None, save=_save)
