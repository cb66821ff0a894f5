"""Cuts single samples out of their sheets, and keeps them in memory."""

import threading
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

from PIL import Image

from tinv.errors import UserError
from tinv.runs.image_grid import read_grid_images, read_grid_labels

MAX_BYTES = 48_000_000
"""Of all samples in memory."""
SIDES = (96, 256, 1024)
"""Sizes that a page may ask for, in pixels of the longer side. Smaller samples keep their size."""
_LOSSLESS_SIDE = 160
"""Images of the toybox are so small that WebP's artifacts would show."""


class SampleImages:
    """Samples as WebP files, those that were used last."""

    def __init__(self) -> None:
        self._images: OrderedDict[tuple[Path, float, int, int], bytes] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def get(self, sheet: Path, index: int, side: int) -> bytes:
        """Returns a sample of a sheet, counted row by row.

        Raises:
            UserError: the sheet cannot be read, or has no such sample.
        """
        try:
            key = sheet, sheet.stat().st_mtime
        except OSError:
            raise UserError(f"{sheet.name}: there is no such sheet.") from None
        with self._lock:  # a page asks for all samples of a sheet at once, and it is decoded once
            if (*key, index, side) not in self._images:
                self._cut(key, side)
            if (image := self._images.get((*key, index, side))) is None:
                raise UserError(f"{sheet.name}: there is no sample {index}.")
            self._images.move_to_end((*key, index, side))
            return image

    def _cut(self, key: tuple[Path, float], side: int) -> None:
        labels = read_grid_labels(key[0])
        images = read_grid_images(key[0], labels) if labels else None
        if images is None:
            raise UserError(f"{key[0].name}: the sheet cannot be read.")
        for index, image in enumerate(images):
            if image is not None:
                self._images[(*key, index, side)] = content = encode_webp(image, side)
                self._bytes += len(content)
        while self._bytes > MAX_BYTES and len(self._images) > len(images):
            self._bytes -= len(self._images.popitem(last=False)[1])


def encode_webp(image: Image.Image, side: int) -> bytes:
    """Returns an image as a WebP file, reduced to at most `side` pixels."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(file := BytesIO(), format="webp", quality=88, method=2, lossless=max(image.size) <= _LOSSLESS_SIDE)
    return file.getvalue()
