"""What a run has left in its folder so far, for boards that have not got it yet, or want the files themselves."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.runs.image_grid import read_headings, read_pictures
from tinv.runs.layout import concept_dirs, list_samples

_SEED = re.compile(r"seed (\d+)")


def sheets(run: Path) -> Iterator[tuple[str, int, Path]]:
    """Its sheets of samples: the series, which bears the concept's name if there are several, the step, the file."""
    for suffix, folder in _concepts(run):
        for step, path in list_samples(folder).items():
            yield f"samples{suffix}", step, path


def pictures(sheet: Path) -> list[tuple[str, int | str, Image.Image | None]]:
    """The pictures on a sheet: prompt, seed, and the picture, or None in its place."""
    headings = read_headings(sheet)
    found = read_pictures(sheet, headings) if headings else None
    if headings is None or found is None:
        return []
    seeds = [_SEED.fullmatch(column) for column in headings.columns]
    columns = [int(seed[1]) for seed in seeds if seed] if all(seeds) else headings.columns
    cells = [(row, column) for row in headings.rows for column in columns]
    return [(row, column, picture) for (row, column), picture in zip(cells, found, strict=True)]


def words(run: Path) -> Iterator[tuple[Path, LearnedEmbedding]]:
    """What it has learned, and the files that it is in."""
    for _, folder in _concepts(run):
        path = folder / formats.get_format("diffusers").file_name
        if path.is_file():
            try:
                yield path, formats.read(path)
            except UserError:
                continue


def _concepts(run: Path) -> list[tuple[str, Path]]:
    """The folder of each concept, and what is put behind the names of its series where there are several."""
    return [("" if folder == run else f"/{folder.name}", folder) for folder in concept_dirs(run)]
