"""Images small enough to be embedded in a page."""

from base64 import b64encode
from io import BytesIO
from math import sqrt

from PIL import Image

MAX_SIDE, MIN_SIDE = 512, 32
"""Pixels of the longer side."""
_QUALITIES = (92, 80, 60)
_BYTES_PER_PIXEL = 0.05
"""Less than WebP needs for any image with content."""


def thumbnail(image: Image.Image, max_bytes: int) -> str:
    """Returns the image as a `data:` URL, as large as the limit allows.

    Args:
        image: of any size.
        max_bytes: of the WebP file; the URL is a third longer.
    """
    side = min(MAX_SIDE, max(image.size), max(MIN_SIDE, round(sqrt(max_bytes / _BYTES_PER_PIXEL))))
    image = image.convert("RGB")
    while True:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            data = _encode(small, quality)
            if len(data) <= max_bytes:
                return _data_url(data)
        if side <= MIN_SIDE:
            return _data_url(_encode(small, 20))
        side = max(MIN_SIDE, side * 3 // 4)


def _encode(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, format="webp", quality=quality, method=2)
    return file.getvalue()


def _data_url(data: bytes) -> str:
    return f"data:image/webp;base64,{b64encode(data).decode()}"
