"""Draws the first examples of a run: cropped, flipped, masked and captioned as in training, without the VAE."""

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
"""Pixels of the longer side of an image on the sheet."""
MAX_COLUMNS = 8
_BACKGROUND, _TEXT, _LIGHT_TEXT, _MASK = (255, 255, 255), (40, 40, 40), (130, 130, 130), (200, 30, 90)
_GAP, _LINE_HEIGHT, _MAX_LINES = 8, 16, 6


@dataclass(frozen=True)
class _Row:
    """Images side by side, with a title above and captions below."""

    title: str
    examples: Sequence[TrainingExample]
    file_names: Sequence[str]
    """By the examples' `index`."""


def preview(datamodules: Sequence[ConceptDataModule], *, resolution: int, num_samples: int, out: Path) -> list[str]:
    """Draws the first micro-batches of a run as a PNG sheet; returns a line about each training image.

    Args:
        datamodules: of each concept; their images get encoded.
        resolution: of the model, in pixels.
        num_samples: examples of each concept, rounded up to whole micro-batches.
        out: the file to write.

    Raises:
        UserError: an image cannot be read, or the sheet cannot be written.
    """
    rows: list[_Row] = []
    lines: list[str] = []
    for data in datamodules:
        prefix = f"{data.concept_images.concept.placeholder_token} " if len(datamodules) > 1 else ""
        batches = first_batches(data, resolution=resolution, num_samples=num_samples)
        file_names = [path.name for path in data.images]
        for number, batch in enumerate(batches):
            height, width = batch[0].geometry[4:].tolist()
            title = f"{prefix}micro-batch {number}: {width} x {height}"
            chunks = [batch[i : i + MAX_COLUMNS] for i in range(0, len(batch), MAX_COLUMNS)]
            rows += [_Row(title if k == 0 else "", chunk, file_names) for k, chunk in enumerate(chunks)]
        lines += [f"{prefix}{_describe(data, index)}" for index in range(len(data.images))]
    with write_atomically(out) as temporary:
        _draw_sheet(rows).save(temporary, format="png")
    return lines


def first_batches(data: ConceptDataModule, *, resolution: int, num_samples: int) -> list[list[TrainingExample]]:
    """Returns the first micro-batches of a run, with small images [3, h, w] in [-1, 1] in place of moments."""
    data.encode_images(_downscale, resolution=resolution)
    dataset = TrainingDataset(data.encoded_images, batch_size=data.batch_size, seed=data.seed)
    starts = range(0, num_samples, data.batch_size)
    return [[dataset[start + i] for i in range(data.batch_size)] for start in starts]


def native_resolution(pretrained: str, *, revision: str | None, config: str | None) -> int:
    """Returns the side in pixels of the square images that a model was trained on, from its configurations alone.

    Raises:
        UserError: there is no such model on this machine or on the Hub.
    """
    files = find_model(pretrained, revision=revision, config=config)
    denoiser, vae = (
        read_json(files.configs / component / "config.json", name=pretrained)
        for component in (files.family.denoiser[0], "vae")
    )
    return files.family.resolution(denoiser, vae)


def _downscale(pixels_13HW: Tensor) -> Tensor:
    height, width = pixels_13HW.shape[-2:]
    scale = CELL / max(height, width)
    return F.interpolate(pixels_13HW, size=(round(height * scale), round(width * scale)), mode="area")


def _describe(data: ConceptDataModule, index: int) -> str:
    image = data.encoded_images[index]
    views, captions = image.views, image.captions
    height, width, _, _, target_height, target_width = views.geometry[0].tolist()
    parts = [
        f"{data.images[index].name}: {width} x {height}, trained at {target_width} x {target_height}",
        f"{len(views)} views" if len(views) > 1 else "",
        f"{image.repeats} repeats" if image.repeats > 1 else "",
        f"{len(captions)} captions" if len(captions) > 1 else f"caption {captions[0]!r}",
        "" if views.mask is None else f"mask {views.mask.mean():.0%}",
    ]
    return ", ".join(part for part in parts if part)


def _draw_sheet(rows: Sequence[_Row]) -> Image.Image:
    font = ImageFont.load_default(size=13)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    columns = max(len(row.examples) for row in rows)
    images = [_draw_row(row, columns=columns, font=font) for row in rows]
    sheet = Image.new("RGB", (images[0].width, sum(image.height for image in images)), _BACKGROUND)
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height
    return sheet


def _draw_row(row: _Row, *, columns: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    captions = [_wrap(example.caption, font)[:_MAX_LINES] for example in row.examples]
    cell_height = max(example.moments.shape[-2] for example in row.examples)
    height = 2 * _LINE_HEIGHT + cell_height + (1 + max(map(len, captions))) * _LINE_HEIGHT
    image = Image.new("RGB", (columns * (CELL + _GAP) + _GAP, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((_GAP, _LINE_HEIGHT // 2), row.title, font=font, fill=_TEXT)
    for column, (example, lines) in enumerate(zip(row.examples, captions, strict=True)):
        left, top = _GAP + column * (CELL + _GAP), 2 * _LINE_HEIGHT
        image.paste(overlay_mask(example), (left, top))
        draw.text((left, top + cell_height), row.file_names[example.index], font=font, fill=_LIGHT_TEXT)
        for i, line in enumerate(lines, start=1):
            draw.text((left, top + cell_height + i * _LINE_HEIGHT), line, font=font, fill=_TEXT)
    return image


def overlay_mask(example: TrainingExample) -> Image.Image:
    """Returns the image, tinted where the mask lowers the loss."""
    pixels_3HW = example.moments / 2 + 0.5
    if example.mask is not None:
        tint_311 = torch.tensor(_MASK).view(3, 1, 1) / 255
        weight_1HW = 0.3 + 0.7 * example.mask
        pixels_3HW = weight_1HW * pixels_3HW + (1 - weight_1HW) * tint_311
    return Image.fromarray((pixels_3HW.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _wrap(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= CELL or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
