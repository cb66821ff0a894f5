"""A grid of images with labels, as one PNG: the sheets of the samples callback and `tinv generate --grid`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

_WHITE, _BLACK, _GRAY, _RED = (255, 255, 255), (40, 40, 40), (140, 140, 140), (200, 30, 90)
_MIN_CELL = 128
"""Smaller images are enlarged by a whole factor, so that a label fits above them."""
_METADATA_KEY = "tinv-grid"
"""PNG metadata with the labels and the geometry, so that the images can be cut out again."""
_READ_ERRORS = (OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError)


@dataclass(frozen=True)
class GridGeometry:
    """Positions and sizes in a grid, in pixels."""

    rows: int
    columns: int
    width: int
    """Of a cell."""
    height: int

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont:
        """The font of the labels."""
        font = ImageFont.load_default(size=max(12, min(self.width, self.height) // 16))
        assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
        return font

    @property
    def line(self) -> int:
        """Height of a label."""
        return round(max(12, min(self.width, self.height) // 16) * 1.6)

    @property
    def gap(self) -> int:
        """Distance between cells."""
        return max(4, self.width // 64)

    @property
    def size(self) -> tuple[int, int]:
        """Size of the grid."""
        width = self.columns * (self.width + self.gap) + self.gap
        return width, self.rows * (self.line + self.height + self.gap) + self.line + self.gap

    def top(self, row: int) -> int:
        """Returns the top of a row's label."""
        return self.line + row * (self.line + self.height + self.gap)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Returns the upper left corner of a cell."""
        return self.gap + column * (self.width + self.gap), self.top(row) + self.line


@dataclass(frozen=True)
class GridLabels:
    """The metadata of a grid."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    geometry: GridGeometry
    scale: int
    """The factor by which the images were enlarged."""
    missing: frozenset[int]
    """The cells without an image, because its values were not finite."""


def draw_grid(images: Sequence[Image.Image | None], *, rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """Returns a grid of len(rows) x len(columns) images, each row below its label.

    Args:
        images: row by row; None where the values of an image were not finite.
        rows: a label for each row, such as its prompt; truncated with an ellipsis if the grid is too narrow.
        columns: a label for each column, such as its seed.
    """
    assert len(images) == len(rows) * len(columns)
    scale, width, height = _cell_size(images)
    geometry = GridGeometry(len(rows), len(columns), width, height)
    font, gap, line = geometry.font, geometry.gap, geometry.line
    grid = Image.new("RGB", geometry.size, _WHITE)
    draw = ImageDraw.Draw(grid)
    for column, label in enumerate(columns):
        middle = geometry.corner(0, column)[0] + width // 2
        draw.text((middle, line // 2 + gap // 2), _truncate(label, font, width), font=font, fill=_GRAY, anchor="mm")
    for row, label in enumerate(rows):
        middle = geometry.top(row) + line // 2
        draw.text((gap, middle), _truncate(label, font, grid.width - 2 * gap), font=font, fill=_BLACK, anchor="lm")
    for i, image in enumerate(images):
        corner = geometry.corner(*divmod(i, len(columns)))
        if image is None:
            _draw_missing(draw, corner, geometry)
        else:
            grid.paste(image.resize((width, height), Image.Resampling.NEAREST), corner)
    missing = [i for i, image in enumerate(images) if image is None]
    metadata = {"rows": [*rows], "columns": [*columns], "cell": [width, height], "scale": scale, "missing": missing}
    grid.info[_METADATA_KEY] = json.dumps(metadata)
    return grid


def save_grid(grid: Image.Image, path: Path) -> None:
    """Writes a grid as PNG with its metadata."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(_METADATA_KEY, grid.info[_METADATA_KEY])
    grid.save(path, format="png", pnginfo=info)


def read_grid_labels(path: Path) -> GridLabels | None:
    """Returns the metadata of a grid, or None if the file cannot be read or its metadata do not fit it."""
    try:
        with Image.open(path, formats=["png"]) as file:
            metadata = json.loads(file.info[_METADATA_KEY])
            rows, columns = tuple(map(str, metadata["rows"])), tuple(map(str, metadata["columns"]))
            width, height = map(int, metadata["cell"])
            scale, missing = int(metadata["scale"]), frozenset(metadata["missing"])
            geometry = GridGeometry(len(rows), len(columns), width, height)
            is_valid = geometry.size == file.size and 1 <= scale <= min(width, height)
    except _READ_ERRORS:
        return None
    return GridLabels(rows, columns, geometry, scale, missing) if is_valid else None


def read_grid_images(path: Path, labels: GridLabels) -> list[Image.Image | None] | None:
    """Returns the images of a grid, row by row, in their original size; None if the file is damaged."""
    geometry, scale = labels.geometry, labels.scale
    try:
        with Image.open(path, formats=["png"]) as file:
            grid = file.convert("RGB")
    except _READ_ERRORS:
        return None
    size = geometry.width // scale, geometry.height // scale
    images: list[Image.Image | None] = []
    for i in range(geometry.rows * geometry.columns):
        left, top = geometry.corner(*divmod(i, geometry.columns))
        cell = grid.crop((left, top, left + geometry.width, top + geometry.height))
        images.append(None if i in labels.missing else cell.resize(size, Image.Resampling.NEAREST))
    return images


def _cell_size(images: Sequence[Image.Image | None]) -> tuple[int, int, int]:
    """Returns the scale, the width and the height of a cell."""
    sizes = [image.size for image in images if image is not None] or [(_MIN_CELL, _MIN_CELL)]
    width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
    scale = -(-_MIN_CELL // min(width, height))
    return scale, width * scale, height * scale


def _truncate(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _draw_missing(draw: ImageDraw.ImageDraw, corner: tuple[int, int], geometry: GridGeometry) -> None:
    """Draws a crossed-out frame, which cannot be confused with a black image."""
    (left, top), font = corner, geometry.font
    right, bottom = left + geometry.width - 1, top + geometry.height - 1
    draw.rectangle((left, top, right, bottom), outline=_RED, width=2)
    draw.line((left, top, right, bottom), fill=_RED, width=1)
    draw.line((left, bottom, right, top), fill=_RED, width=1)
    middle = ((left + right) // 2, (top + bottom) // 2)
    box = draw.textbbox(middle, "not finite", font=font, anchor="mm")
    draw.rectangle((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2), fill=_WHITE)
    draw.text(middle, "not finite", font=font, fill=_RED, anchor="mm")
