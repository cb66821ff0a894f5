"""Pictures in labelled rows and columns: what the sample callback and `tinv generate --grid` show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

_PAPER, _INK, _FAINT, _ALARM = (255, 255, 255), (40, 40, 40), (140, 140, 140), (200, 30, 90)
_SMALLEST_CELL = 128
"""Smaller pictures are enlarged, pixel by pixel, until a label fits over them."""


_NOTE = "tinv-sheet"
"""Under this name a sheet's file says what is on it, so that its pictures can be taken off it again."""


@dataclass(frozen=True)
class Layout:
    """Where things stand on a sheet."""

    rows: int
    columns: int
    width: int
    """Of a cell."""
    height: int

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont:
        """Of the headings."""
        font = ImageFont.load_default(size=max(12, min(self.width, self.height) // 16))
        assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
        return font

    @property
    def line(self) -> int:
        """Height of a heading."""
        return round(max(12, min(self.width, self.height) // 16) * 1.6)

    @property
    def gap(self) -> int:
        """Between cells."""
        return max(4, self.width // 64)

    @property
    def size(self) -> tuple[int, int]:
        """Of the sheet."""
        across = self.columns * (self.width + self.gap) + self.gap
        return across, self.rows * (self.line + self.height + self.gap) + self.line + self.gap

    def top(self, row: int) -> int:
        """Where a row's heading begins."""
        return self.line + row * (self.line + self.height + self.gap)

    def place(self, row: int, column: int) -> tuple[int, int]:
        """The upper left corner of a cell."""
        return self.gap + column * (self.width + self.gap), self.top(row) + self.line


def labelled_grid(
    pictures: Sequence[Image.Image | None], *, rows: Sequence[str], columns: Sequence[str]
) -> Image.Image:
    """One sheet of len(rows) x len(columns) pictures, each row under its own heading.

    Args:
        pictures: row by row; None where there is no picture because the numbers were not finite.
        rows: a heading for each row, such as its prompt; cut with an ellipsis where the sheet is too narrow.
        columns: a heading for each column, such as its seed.
    """
    assert len(pictures) == len(rows) * len(columns)
    times, width, height = _cell_size(pictures)
    layout = Layout(len(rows), len(columns), width, height)
    font, gap, line = layout.font, layout.gap, layout.line
    sheet = Image.new("RGB", layout.size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(columns):
        middle = layout.place(0, column)[0] + width // 2
        draw.text((middle, line // 2 + gap // 2), _fit(heading, font, width), font=font, fill=_FAINT, anchor="mm")
    for row, heading in enumerate(rows):
        middle = layout.top(row) + line // 2
        draw.text((gap, middle), _fit(heading, font, sheet.width - 2 * gap), font=font, fill=_INK, anchor="lm")
        for column in range(len(columns)):
            picture = pictures[row * len(columns) + column]
            if picture is None:
                _draw_missing(draw, layout.place(row, column), (width, height), font)
            else:
                sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), layout.place(row, column))
    note = {"rows": [*rows], "columns": [*columns], "cell": [width, height], "times": times}
    note["missing"] = [i for i, picture in enumerate(pictures) if picture is None]
    sheet.info[_NOTE] = json.dumps(note)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, with a note of what is on it."""
    note = PngImagePlugin.PngInfo()
    note.add_itxt(_NOTE, sheet.info[_NOTE])
    sheet.save(path, format="png", pnginfo=note)


@dataclass(frozen=True)
class Headings:
    """What stands on a sheet."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    layout: Layout
    times: int
    """How many times the pictures were enlarged."""
    missing: frozenset[int]
    """Which cells are empty because the numbers were not finite."""


def read_headings(path: Path) -> Headings | None:
    """What stands on a sheet, or None if the file cannot be read or does not say."""
    try:
        with Image.open(path, formats=["png"]) as file:
            note = json.loads(file.info[_NOTE])
            rows, columns = tuple(map(str, note["rows"])), tuple(map(str, note["columns"]))
            (width, height), times, missing = map(int, note["cell"]), int(note["times"]), frozenset(note["missing"])
            layout = Layout(len(rows), len(columns), width, height)
            is_true = layout.size == file.size and 1 <= times <= min(width, height)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        return None
    return Headings(rows, columns, layout, times, missing) if is_true else None


def read_pictures(path: Path, headings: Headings) -> list[Image.Image | None] | None:
    """The pictures on a sheet, row by row, in the size in which they were drawn; None if the file is broken."""
    layout, times = headings.layout, headings.times
    try:
        with Image.open(path, formats=["png"]) as file:
            sheet = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    size = layout.width // times, layout.height // times
    pictures: list[Image.Image | None] = []
    for i in range(layout.rows * layout.columns):
        left, top = layout.place(*divmod(i, layout.columns))
        cell = sheet.crop((left, top, left + layout.width, top + layout.height))
        pictures.append(None if i in headings.missing else cell.resize(size, Image.Resampling.NEAREST))
    return pictures


def _cell_size(pictures: Sequence[Image.Image | None]) -> tuple[int, int, int]:
    """How many times enlarged, width, height."""
    drawn = [picture for picture in pictures if picture is not None]
    width = max((picture.width for picture in drawn), default=_SMALLEST_CELL)
    height = max((picture.height for picture in drawn), default=_SMALLEST_CELL)
    times = -(-_SMALLEST_CELL // min(width, height))
    return times, width * times, height * times


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _draw_missing(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], size: tuple[int, int], font: ImageFont.FreeTypeFont
) -> None:
    """A crossed-out frame that nobody takes for a black picture."""
    (left, top), (right, bottom) = place, (place[0] + size[0] - 1, place[1] + size[1] - 1)
    draw.rectangle((left, top, right, bottom), outline=_ALARM, width=2)
    draw.line((left, top, right, bottom), fill=_ALARM, width=1)
    draw.line((left, bottom, right, top), fill=_ALARM, width=1)
    middle = ((left + right) // 2, (top + bottom) // 2)
    box = draw.textbbox(middle, "not finite", font=font, anchor="mm")
    draw.rectangle((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2), fill=_PAPER)
    draw.text(middle, "not finite", font=font, fill=_ALARM, anchor="mm")
