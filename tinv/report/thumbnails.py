"""Pictures small enough to stand inside a page."""

from base64 import b64encode
from io import BytesIO
from math import sqrt

from PIL import Image

LARGEST, SMALLEST = 512, 32
"""Pixels of the longer side."""
_QUALITIES = (92, 80, 60)
_BYTES_PER_PIXEL = 0.05
"""Less than any picture with something on it takes."""


def thumbnail(picture: Image.Image, most_bytes: int) -> str:
    """The picture as a `data:` address, as large as fits.

    Args:
        picture: of any size.
        most_bytes: of the picture itself, in WebP; its address is a third longer.
    """
    side = min(LARGEST, max(picture.size), max(SMALLEST, round(sqrt(most_bytes / _BYTES_PER_PIXEL))))
    picture = picture.convert("RGB")
    while True:
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            data = _encode(small, quality)
            if len(data) <= most_bytes:
                return _address(data)
        if side <= SMALLEST:
            return _address(_encode(small, 20))
        side = max(SMALLEST, side * 3 // 4)


def _encode(picture: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    picture.save(file, format="webp", quality=quality, method=2)
    return file.getvalue()


def _address(data: bytes) -> str:
    return f"data:image/webp;base64,{b64encode(data).decode()}"
