"""Converts embedding files into those of other programs, or into a whole pipeline."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinv import formats
from tinv.concept import slug
from tinv.errors import UserError
from tinv.formats import PIPELINE, LearnedEmbedding, get_format
from tinv.formats.diffusers import split_files
from tinv.formats.format import Format
from tinv.formats.learned_embedding import widths
from tinv.formats.negative import split_negative
from tinv.formats.programs import IN_PART, NO, who_loads
from tinv.formats.text_encoders import find_models
from tinv.formats.writable_token import check_writable_token
from tinv.token_parts import MEAN, describe_parts, parts, select_part

_PROGRAMS = {"comfy": "ComfyUI", "onetrainer": "OneTrainer"}
"""The programs of the formats that are for one program."""


def convert(
    source: Path,
    out: Path,
    to: str,
    *,
    token: str | None = None,
    model: str | None = None,
    part: str | None = None,
) -> list[Path]:
    """Reads an embedding file and writes it in another format.

    Args:
        source: the file, or the folder that holds it.
        out: the file to write, or a folder, in which the files get the names that their readers expect.
        to: one of `formats.EXPORT_FORMATS`.
        token: the placeholder token, instead of the one that the file names.
        model: for a pipeline, the model to add the tokens to; None is the one that they were trained on.
        part: of an extended embedding, the part that becomes an ordinary embedding: its name, or `mean`.

    Returns:
        The files or the folder written.

    Raises:
        UserError: the file, the output path or the model is not usable, or the format has no room for the vectors.
    """
    halves = [half for embedding in formats.read_all(source, token=token) for half in split_negative(embedding)]
    for half in halves:
        check_writable_token(half.placeholder_token, "--token")
    embeddings = [_select_part(embedding, part) for embedding in halves]
    if to == PIPELINE:
        from tinv.inference import export_pipeline
        from tinv.models import load

        name, revision = (model, None) if model else _base_model(embeddings)
        return [export_pipeline.write(out, embeddings, load(name, revision=revision))]
    if model is not None:
        raise UserError(f"--model={model} needs --to pipeline; leave it out with --to {to}")
    target = get_format(to)
    paths = _output_paths(out, embeddings, target)
    for embedding in embeddings:
        target.check(embedding)
    has_several = target.name.startswith("diffusers")
    files = [
        file
        for embedding, path in zip(embeddings, paths, strict=True)
        for file in (split_files(path, embedding) if has_several else [path])
    ]
    for path in files:
        if path.exists() or files.count(path) > 1:
            raise UserError(f"OUT={path}: the file exists already; name another file or folder")
    for embedding in embeddings:
        _warn_of_missing_loaders(embedding, target)
    return [file for path, embedding in zip(paths, embeddings, strict=True) for file in target.save(path, embedding)]


def _warn_of_missing_loaders(embedding: LearnedEmbedding, target: Format) -> None:
    """Names the models for which the format's program does not load the file, or only a part of it."""
    program = _PROGRAMS.get(target.name)
    if program is None:
        return
    vectors = widths(embedding)
    models = find_models(vectors, has_guessed_encoders=embedding.has_guessed_encoders)
    answers = {
        model.title: who_loads(target.name, model)[program] for model in models if len(model.widths) == len(vectors)
    }
    ignored, partly = ([title for title, how in answers.items() if how == word] for word in (NO, IN_PART))
    if ignored:
        warnings.warn(
            f"{program} loads no embeddings for {', '.join(ignored)}: it reads {embedding.placeholder_token} as "
            f"ordinary words. Use tinv.load_embedding(pipe, file) with diffusers",
            stacklevel=3,
        )
    if partly:
        warnings.warn(
            f"{program} loads the vectors of some text encoders of {', '.join(partly)} only. Use "
            f"tinv.load_embedding(pipe, file) with diffusers",
            stacklevel=3,
        )


def _select_part(embedding: LearnedEmbedding, part: str | None) -> LearnedEmbedding:
    """Returns an ordinary embedding unchanged, and the selected part of an extended embedding."""
    token, names = embedding.placeholder_token, parts(embedding.vectors)
    if not names:
        if part is not None:
            raise UserError(f"--part={part}: {token} is an ordinary embedding, which has no parts; leave it out")
        return embedding
    if part not in (*names, MEAN):
        raise UserError(
            f"--part={part or ''}: {token} has its own vectors for {describe_parts(names)}; choose mean or one of "
            f"{', '.join(names)}"
        )
    provenance = {**embedding.provenance, "part": part}
    return replace(embedding, vectors=select_part(embedding.vectors, part), provenance=provenance)


def _output_paths(out: Path, embeddings: Sequence[LearnedEmbedding], target: Format) -> list[Path]:
    """Returns the file of each embedding."""
    if out.suffix and not out.is_dir():
        if out.suffix != target.suffix:
            raise UserError(f"OUT={out.name}: the format {target.name} is read from {target.suffix} files; rename it")
        if len(embeddings) > 1:
            tokens = ", ".join(embedding.placeholder_token for embedding in embeddings)
            raise UserError(
                f"OUT={out}: this is one file, but IN holds {len(embeddings)} tokens ({tokens}); give a folder"
            )
        return [out]
    if len(embeddings) > 1:
        return [out / f"{slug(embedding.placeholder_token)}{target.suffix}" for embedding in embeddings]
    return [target.default_path(out, embeddings[0])]


def _base_model(embeddings: Sequence[LearnedEmbedding]) -> tuple[str, str | None]:
    """Returns the model that the embeddings were trained on, and its commit if it came from the Hub."""
    provenance = embeddings[0].provenance  # the same for all embeddings of a file
    if "base_model" not in provenance:
        raise UserError("IN does not name the model that it was trained on; choose one with --model")
    return provenance["base_model"], provenance.get("base_revision")
