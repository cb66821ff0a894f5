"""Writes an embedding for the programs that read it."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tinv.errors import UserError
from tinv.formats import multipart
from tinv.formats.format import Format
from tinv.formats.format_names import FORMATS
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import negative_path, split_negative
from tinv.formats.tensors import to_float32
from tinv.formats.writable_token import check_writable_token
from tinv.token_parts import has_negative, parts


def get_format(name: str) -> Format:
    """Returns one of `FORMATS`.

    Raises:
        UserError: there is no such format.
    """
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}; choose from {', '.join(FORMATS)}")
    chosen: Format = import_module(f"tinv.formats.{name}").FORMAT
    return chosen


def write(path: Path | str, embedding: LearnedEmbedding, format: str | None = None) -> list[Path]:
    """Writes an embedding atomically, with its provenance if the format has room for it.

    Args:
        path: the file; diffusers' formats write those of further text encoders beside it, and a negative has its own.
        embedding: the embedding; its vectors are written as float32.
        format: one of `FORMATS`; None is diffusers', or tinv's own for an extended embedding.

    Returns:
        The files written.

    Raises:
        UserError: there is no such format, it has no room for these vectors, files cannot hold the token, or the path
            cannot be written to.
    """
    path, plain = Path(path), {name: to_float32(vectors) for name, vectors in embedding.vectors.items()}
    embedding = replace(embedding, vectors=plain)
    check_writable_token(embedding.placeholder_token, "placeholder_token")
    if has_negative(plain):
        positive, negative = split_negative(embedding)
        return [*write(path, positive, format), *write(negative_path(path), negative, format)]
    if format is None and parts(plain):
        return multipart.write(path, embedding)
    chosen = get_format(format or "diffusers")
    chosen.check(embedding)
    return chosen.save(path, embedding)
