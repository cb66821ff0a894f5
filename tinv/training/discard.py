"""Removes what a discarded run has learned; its logs, samples and settings remain."""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tinv.formats import FORMATS, PIPELINE, LearnedEmbedding, get_format
from tinv.runs.layout import (
    CHECKPOINTS,
    CONCEPT_TYPE,
    EXPORTS,
    HUB_STAGING,
    TOKEN_IDENTIFIER,
    concept_dirs,
    list_step_embeddings,
)

_SUFFIXES = re.compile(r"(-neg)?(_[2-9])?$")
"""Of the names of further files of an embedding."""


def discard_result(run_dir: Path, learned: Iterable[LearnedEmbedding]) -> list[str]:
    """Removes the checkpoints and the embeddings of a run, and returns their names, relative to its folder.

    Removes only files and folders that tinv writes, and of a link only the link.

    Args:
        run_dir: the run folder.
        learned: the embeddings of the run, whose tokens are in file names.
    """
    paths = [run_dir / name for name in (CHECKPOINTS, PIPELINE, HUB_STAGING)]
    embeddings = [*learned]
    for folder in concept_dirs(run_dir):
        paths += [*_embedding_files(folder, embeddings), folder / EXPORTS]
    removed = []
    for path in dict.fromkeys(paths):
        if path.parent.resolve().is_relative_to(run_dir.resolve()) and _remove(path):
            removed.append(path.relative_to(run_dir).as_posix())
    return removed


def _embedding_files(folder: Path, embeddings: Iterable[LearnedEmbedding]) -> Iterator[Path]:
    """Yields the files of embeddings in a folder of a concept, in all formats, also those of several encoders."""
    formats = [*map(get_format, FORMATS)]
    names = {
        (p.stem, p.suffix) for each in embeddings for format in formats for p in [format.default_path(folder, each)]
    }
    for path in sorted(folder.glob("*")):
        if (_SUFFIXES.sub("", path.stem), path.suffix) in names or path.name in (TOKEN_IDENTIFIER, CONCEPT_TYPE):
            yield path
    for step_paths in list_step_embeddings(folder).values():
        yield from step_paths


def _remove(path: Path) -> bool:
    """Removes a file, a link or a folder; returns whether it existed and is gone."""
    if not (path.exists() or path.is_symlink()):
        return False
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return not path.exists()
