"""Reads samples and embeddings from a run folder, for loggers that upload them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.runs.image_grid import read_grid_images, read_grid_labels
from tinv.runs.layout import SAMPLES, concept_dirs, list_samples

_SEED = re.compile(r"seed (\d+)")


def sample_sheets(run_dir: Path) -> Iterator[tuple[str, int, Path]]:
    """Yields name, step and path of each sample sheet; the name is `samples/cat-toy` in a run of several concepts."""
    for folder in concept_dirs(run_dir):
        name = SAMPLES if folder == run_dir else f"{SAMPLES}/{folder.name}"
        for step, path in list_samples(folder).items():
            yield name, step, path


def sheet_images(sheet: Path) -> list[tuple[str, int | str, Image.Image | None]]:
    """Returns prompt, seed and image of each cell of a sheet; the image of a sample that was not finite is None."""
    if not (labels := read_grid_labels(sheet)) or (images := read_grid_images(sheet, labels)) is None:
        return []
    seeds = [_SEED.fullmatch(column) for column in labels.columns]
    columns = [int(seed[1]) for seed in seeds if seed] if all(seeds) else labels.columns
    cells = [(prompt, column) for prompt in labels.rows for column in columns]
    return [(prompt, column, image) for (prompt, column), image in zip(cells, images, strict=True)]


def learned_embeddings(run_dir: Path) -> Iterator[tuple[Path, LearnedEmbedding]]:
    """Yields the final embeddings of a run with their paths; skips files that are missing or damaged."""
    for folder in concept_dirs(run_dir):
        path = folder / formats.get_format("diffusers").file_name
        if path.is_file():
            with suppress(UserError):
                yield path, formats.read(path)
