"""Images small enough to be embedded in a page."""

from base64 import b64encode
from contextlib import suppress
from io import BytesIO
from math import sqrt
from pathlib import Path

from PIL import Image, ImageOps

from tinv.data.locate import HUB_SCHEME
from tinv.errors import UserError
from tinv.publish.run_config import RunConfig
from tinv.report.downsample import pick_evenly
from tinv.runs.image_grid import read_grid_labels
from tinv.runs.reader import RunReader

MAX_SIDE, MIN_SIDE = 512, 32
"""Pixels of the longer side."""
_QUALITIES = (92, 80, 60)
_BYTES_PER_PIXEL = 0.05
"""Less than WebP needs for any image with content."""
_MAX_IMAGES, _MAX_BYTES = 60, 2_000_000
"""Of the training images together."""


def thumbnail(image: Image.Image, max_bytes: int) -> str:
    """Returns the image as a `data:` URL, as large as the limit of its WebP file allows; the URL is a third longer."""
    side = min(MAX_SIDE, max(image.size), max(MIN_SIDE, round(sqrt(max_bytes / _BYTES_PER_PIXEL))))
    image = image.convert("RGB")
    while True:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES if side > MIN_SIDE else (*_QUALITIES, 20):
            small.save(file := BytesIO(), format="webp", quality=quality, method=2)
            if file.tell() <= max_bytes or quality == 20:
                return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"
        side = max(MIN_SIDE, side * 3 // 4)


def training_thumbnails(run_dir: Path) -> dict[str, str]:
    """Returns thumbnails by file name; empty if the images are no longer on this machine."""
    paths = pick_evenly(_find_images(run_dir), _MAX_IMAGES)
    thumbnails = {}
    for path in paths:
        with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError), Image.open(path) as file:
            file.draft("RGB", (1024, 1024))
            thumbnails[path.name] = thumbnail(ImageOps.exif_transpose(file), _MAX_BYTES // len(paths))
    return thumbnails


def requested_thumbnails(run: RunReader) -> list[tuple[int, str, str]]:
    """Returns the step, the URL and the prompts of each sheet of samples that was drawn on request."""
    sheets = [(step, path) for step, paths in run.requested_samples.items() for path in paths]
    thumbnails = []
    for step, path in pick_evenly(sheets, _MAX_IMAGES):
        if labels := read_grid_labels(path):
            with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError), Image.open(path) as file:
                url = thumbnail(file, _MAX_BYTES // min(_MAX_IMAGES, len(sheets)))
                thumbnails.append((step, url, f"{'; '.join(labels.rows)} ({', '.join(labels.columns)})"))
    return thumbnails


def _find_images(run_dir: Path) -> list[Path]:
    """Returns the images in folders of this machine; a report does not use the network."""
    try:
        config = RunConfig(run_dir)
        groups = config.data_groups.values()
        local = [group for group in groups if not str(config.get(f"{group}.folder")).startswith(HUB_SCHEME)]
        return [path for group in local for path in config.training_images(group)]
    except (UserError, OSError, ValueError):
        return []
