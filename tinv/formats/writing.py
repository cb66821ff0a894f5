"""Writes an embedding for the programs that it is meant for."""

from pathlib import Path

from tinv.errors import UserError
from tinv.formats import a1111, a1111_png, diffusers, diffusers_bin, emb_params, sdxl
from tinv.formats import multipart as parted
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.negative import beside, halves
from tinv.formats.tensors import plain
from tinv.token_parts import has_negative, parts

FORMATS = (
    diffusers.FORMAT,
    diffusers_bin.FORMAT,
    a1111.FORMAT,
    a1111_png.FORMAT,
    emb_params.FORMAT,
    sdxl.FORMAT,
)
"""The kinds of files that can be written."""
PIPELINE = "pipeline"
"""A whole diffusers pipeline with the word in it, which is no embedding file: `tinv.inference.export_pipeline` writes it."""
NAMES = (*(known.name for known in FORMATS), PIPELINE)
"""What an embedding can be turned into."""


def write(path: Path | str, learned: LearnedEmbedding, format: str | None = None) -> list[Path]:
    """Write an embedding, whole or not at all, with its provenance where the format has room for it.

    Args:
        path: the file; diffusers' formats write SDXL's second half beside it, and a word's negative has its own.
        learned: the word; its vectors are written as float32, whatever they are.
        format: the name of one of `FORMATS`; None is diffusers', or tinv's own for a word that has parts.

    Returns:
        The files written.

    Raises:
        UserError: there is no such format, it has no room for these vectors, or the place cannot be written to.
    """
    vectors = {encoder: plain(rows) for encoder, rows in learned.vectors.items()}
    whole = LearnedEmbedding(learned.placeholder_token, vectors, learned.provenance)
    if has_negative(vectors):
        word, negative = halves(whole)
        return [*write(path, word, format), *write(beside(Path(path)), negative, format)]
    if format is None and parts(vectors):
        return parted.write(Path(path), whole)
    chosen = {known.name: known for known in FORMATS}.get(format or diffusers.NAME)
    if chosen is None:
        raise UserError(f"there is no format {format!r}; choose from {', '.join(known.name for known in FORMATS)}")
    chosen.check(learned)
    return chosen.save(Path(path), whole)
