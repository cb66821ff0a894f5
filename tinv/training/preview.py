"""What a run will see: its first samples as they are dealt, cut, mirrored, masked and captioned.

Samples come from the run's own stream; only the VAE is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tinv.data.datamodule import ConceptDataModule
from tinv.data.dataset import TrainingDataset, TrainingExample
from tinv.models.families import read_json
from tinv.models.model_files import find_model
from tinv.runs.files import write_atomically

CELL = 224
"""Pixels of the longer side of a picture on the sheet."""
ACROSS = 8
"""Pictures in a row at most."""
_PAPER, _INK, _FAINT, _VEIL = (255, 255, 255), (40, 40, 40), (130, 130, 130), (200, 30, 90)
_GAP, _LINE, _MOST_LINES = 8, 16, 6


@dataclass(frozen=True)
class Preview:
    """What there is to be said of a run's pictures."""

    pictures: list[str]
    """A line for each picture: its size, what is shown of it, how often, and how many captions it has."""
    sheet: Path
    """Where the samples are drawn."""


def preview(parts: Sequence[ConceptDataModule], *, resolution: int, num_samples: int, out: Path) -> Preview:
    """Draw the first micro-batches of a run.

    Args:
        parts: of each concept, not connected to a model.
        resolution: the model's own, in pixels.
        num_samples: how many samples of each concept; whole micro-batches are drawn.
        out: the picture to write.

    Raises:
        UserError: a picture cannot be read, or the sheet cannot be written.
    """
    rows: list[_Row] = []
    lines: list[str] = []
    for data in parts:
        word = f"{data.concept_images.concept.placeholder_token} " if len(parts) > 1 else ""
        rows += _rows(word, data, first_batches(data, resolution=resolution, num_samples=num_samples))
        lines += [f"{word}{_describe(data, index)}" for index in range(len(data.images))]
    with write_atomically(out) as draft:
        _sheet(rows).save(draft, format="png")
    return Preview(lines, out)


def first_batches(data: ConceptDataModule, *, resolution: int, num_samples: int) -> list[list[TrainingExample]]:
    """The first micro-batches of a run, with small pictures [3, h, w] in [-1, 1] where it has moments."""
    data.encode_images(_thumbnail, resolution=resolution)
    samples = TrainingDataset(data.encoded_images, batch_size=data.batch_size, seed=data.seed)
    firsts = range(0, num_samples, data.batch_size)
    return [[samples[first + i] for i in range(data.batch_size)] for first in firsts]


def native_resolution(pretrained: str, *, revision: str | None, config: str | None) -> int:
    """The side of the square that a model was trained on, from its configurations alone.

    Raises:
        UserError: there is no such model here or on the Hub.
    """
    folder = find_model(pretrained, revision=revision, config=config).configs
    blocks = read_json(folder / "vae" / "config.json", name=pretrained)["block_out_channels"]
    return read_json(folder / "unet" / "config.json", name=pretrained)["sample_size"] * 2 ** (len(blocks) - 1)


def _thumbnail(pixels_13HW: Tensor) -> Tensor:
    height, width = pixels_13HW.shape[-2:]
    scale = CELL / max(height, width)
    return F.interpolate(pixels_13HW, size=(round(height * scale), round(width * scale)), mode="area")


def _describe(data: ConceptDataModule, index: int) -> str:
    shown = data.encoded_images[index]
    views, captions = shown.views, shown.captions
    height, width, _, _, high, wide = views.geometry[0].tolist()
    parts = [
        f"{data.images[index].name}: {width} x {height}, shown as {wide} x {high}",
        f"in {len(views)} ways" if len(views) > 1 else "",
        f"{shown.repeats} times a pass" if shown.repeats > 1 else "",
        f"{len(captions)} captions" if len(captions) > 1 else f"called {captions[0]!r}",
        "" if views.mask is None else f"{views.mask.mean():.0%} of it counts",
    ]
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class _Row:
    """Pictures side by side."""

    title: str
    samples: Sequence[TrainingExample]
    names: Sequence[str]
    """Of the files, by the samples' index."""


def _rows(word: str, data: ConceptDataModule, batches: Sequence[Sequence[TrainingExample]]) -> list[_Row]:
    """A row for each micro-batch, or several where it is too long."""
    names = [path.name for path in data.images]
    rows = []
    for number, batch in enumerate(batches):
        height, width = batch[0].geometry[4:].tolist()
        title = f"{word}micro-batch {number}: {width} x {height}"
        pieces = [batch[i : i + ACROSS] for i in range(0, len(batch), ACROSS)]
        rows += [_Row(title * (k == 0), piece, names) for k, piece in enumerate(pieces)]
    return rows


def _sheet(rows: Sequence[_Row]) -> Image.Image:
    font = ImageFont.load_default(size=13)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    across = max(len(row.samples) for row in rows)
    drawn = [_draw(row, across=across, font=font) for row in rows]
    sheet = Image.new("RGB", (drawn[0].width, sum(row.height for row in drawn)), _PAPER)
    top = 0
    for picture in drawn:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def _draw(row: _Row, *, across: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """A row with its captions below."""
    texts = [_wrapped(sample.caption, font)[:_MOST_LINES] for sample in row.samples]
    tall = max(sample.moments.shape[-2] for sample in row.samples)
    height = 2 * _LINE + tall + (1 + max(map(len, texts))) * _LINE
    picture = Image.new("RGB", (across * (CELL + _GAP) + _GAP, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_GAP, _LINE // 2), row.title, font=font, fill=_INK)
    for column, (sample, lines) in enumerate(zip(row.samples, texts, strict=True)):
        left, top = _GAP + column * (CELL + _GAP), 2 * _LINE
        picture.paste(_masked(sample), (left, top))
        draw.text((left, top + tall), row.names[sample.index], font=font, fill=_FAINT)
        for i, line in enumerate(lines, start=1):
            draw.text((left, top + tall + i * _LINE), line, font=font, fill=_INK)
    return picture


def _masked(sample: TrainingExample) -> Image.Image:
    """The picture, under a veil where it does not count."""
    pixels_3HW = sample.moments / 2 + 0.5
    if sample.mask is not None:
        veil_311 = torch.tensor(_VEIL).view(3, 1, 1) / 255
        weight_1HW = 0.3 + 0.7 * sample.mask
        pixels_3HW = weight_1HW * pixels_3HW + (1 - weight_1HW) * veil_311
    return Image.fromarray((pixels_3HW.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _wrapped(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= CELL or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
