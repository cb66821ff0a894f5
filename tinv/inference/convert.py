"""Embedding files turned into the files of other programs, or into a whole pipeline."""

from collections.abc import Sequence
from pathlib import Path

from tinv import formats
from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats import FORMATS, PIPELINE, LearnedEmbedding
from tinv.formats.format import Format
from tinv.formats.negative import halves
from tinv.token_parts import MEAN, describe_parts, parts, select_part


def convert(
    source: Path,
    out: Path,
    to: str,
    *,
    token: str | None = None,
    model: str | None = None,
    part: str | None = None,
) -> list[Path]:
    """Read an embedding and write it in another format.

    Args:
        source: the file, or the folder that holds it.
        out: the file to write, or a folder, in which the files are called as their readers expect.
        to: one of `formats.NAMES`.
        token: what the word is to be called, instead of what the file says.
        model: for a pipeline, what to merge the words into; None is the model that they were learned on.
        part: of a word that has parts, which becomes an ordinary word: its name, or `mean`.

    Returns:
        What was written.

    Raises:
        UserError: the file, the place or the model is not usable, or the format has no room for the vectors.
    """
    words = [half for word in formats.read_all(source, token=token) for half in halves(word)]
    learned = [_ordinary(word, part) for word in words]
    if to == PIPELINE:
        from tinv.inference import export_pipeline as merged
        from tinv.models import load

        name, revision = (model, None) if model else _base_model(learned)
        return [merged.write(out, learned, load(name, revision=revision))]
    if model is not None:
        raise UserError(f"--model is what a pipeline is made of; leave it out with --to {to}")
    (chosen,) = (known for known in FORMATS if known.name == to)
    places = _places(out, learned, chosen)
    for word, place in zip(learned, places, strict=True):
        chosen.check(word)
        if place.exists() or places.count(place) > 1:
            raise UserError(f"--out: {place} is there already; name another file or folder")
    pairs = zip(learned, places, strict=True)
    return [path for word, place in pairs for path in formats.write(place, word, to)]


def _ordinary(word: LearnedEmbedding, part: str | None) -> LearnedEmbedding:
    """A word as it is; of one that has parts, that which was asked for."""
    known = parts(word.vectors)
    if not known:
        if part is not None:
            raise UserError(f"--part: {word.placeholder_token} is an ordinary word, which has no parts; leave it out")
        return word
    if part not in (*known, MEAN):
        raise UserError(
            f"{word.placeholder_token} has vectors of its own for {describe_parts(known)}; choose those of an ordinary word with "
            f"--part mean, or --part and one of {', '.join(known)}" + ("" if part is None else f"; got {part}")
        )
    return LearnedEmbedding(word.placeholder_token, select_part(word.vectors, part), {**word.provenance, "part": part})


def _places(out: Path, learned: Sequence[LearnedEmbedding], chosen: Format) -> list[Path]:
    """The file of each word."""
    if out.suffix and not out.is_dir():
        if out.suffix != chosen.suffix:
            raise UserError(f"the format {chosen.name} is read from {chosen.suffix} files, got {out.name}; rename it")
        if len(learned) > 1:
            words = ", ".join(word.placeholder_token for word in learned)
            raise UserError(f"the file holds {len(learned)} words ({words}), {out} is one file; give a folder")
        return [out]
    if len(learned) > 1:
        return [out / f"{slug(word.placeholder_token)}{chosen.suffix}" for word in learned]
    return [chosen.place(out, learned[0])]


def _base_model(learned: Sequence[LearnedEmbedding]) -> tuple[str, str | None]:
    """The model that the words were learned on, and its commit if it came from the Hub."""
    told = learned[0].provenance  # of the file, so of all its words
    if "base_model" not in told:
        raise UserError("the file does not say which model its word was learned on; choose one with --model")
    return told["base_model"], told.get("base_revision")
