"""Pictures in labelled rows and columns: what the sample callback and `tinv generate --grid` show."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _FAINT, _ALARM = (255, 255, 255), (40, 40, 40), (140, 140, 140), (200, 30, 90)
_SMALLEST_CELL = 128
"""Smaller pictures are enlarged, pixel by pixel, until a label fits over them."""


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
    width, height = _cell_size(pictures)
    font = ImageFont.load_default(size=max(12, min(width, height) // 16))
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    line = round(font.size * 1.6)
    gap = max(4, width // 64)
    across, down = len(columns) * (width + gap) + gap, len(rows) * (line + height + gap) + line + gap
    sheet = Image.new("RGB", (across, down), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(columns):
        middle = gap + column * (width + gap) + width // 2
        draw.text((middle, line // 2 + gap // 2), _fit(heading, font, width), font=font, fill=_FAINT, anchor="mm")
    for row, heading in enumerate(rows):
        top = line + row * (line + height + gap)
        draw.text((gap, top + line // 2), _fit(heading, font, across - 2 * gap), font=font, fill=_INK, anchor="lm")
        for column in range(len(columns)):
            picture = pictures[row * len(columns) + column]
            place = (gap + column * (width + gap), top + line)
            if picture is None:
                _draw_missing(draw, place, (width, height), font)
            else:
                sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), place)
    return sheet


def _cell_size(pictures: Sequence[Image.Image | None]) -> tuple[int, int]:
    drawn = [picture for picture in pictures if picture is not None]
    width = max((picture.width for picture in drawn), default=_SMALLEST_CELL)
    height = max((picture.height for picture in drawn), default=_SMALLEST_CELL)
    times = -(-_SMALLEST_CELL // min(width, height))
    return width * times, height * times


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
