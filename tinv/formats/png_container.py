"""The picture container of AUTOMATIC1111's web UI: the embedding as JSON, in a text of a PNG or in the pixels.

In the pixels, the JSON is packed by zlib and cut into half bytes. They fill the lower four bits of two blocks, the low
halves left of a shown picture and the high ones right of it, hidden under a fixed stream of numbers; a black column
stands between each block and the picture. So a picture that has lost its texts still holds its word.
"""

import base64
import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, Content

TEXT = "sd-ti-embedding"
_TENSOR = "TORCHTENSOR"
_KINDS = ("PNG", "WEBP", "AVIF", "JPEG")
_HEADS = (b"\x89PNG", b"RIFF", b"\xff\xd8\xff")
_MAX_JSON = 2**24
_MAX_PIXELS = 2**23


def is_picture(head: bytes) -> bool:
    """Whether a file that begins like this is one: PNG, WebP, AVIF or JPEG."""
    return head.startswith(_HEADS) or head[4:8] == b"ftyp"


def open_picture(path: Path) -> Content:
    """The embedding in a picture.

    Raises:
        UserError: there is none in it, or it is not whole.
    """
    try:
        text = _text_in(path)
        if text is not None:
            return Content(path, "picture", json.loads(text, object_hook=_revive))
    except UserError:
        raise
    except Exception as error:  # a broken picture breaks the decoders in any way
        raise UserError(f"{path} is a picture whose embedding cannot be read; it was changed or cut short") from error
    raise UserError(f"{path} is a picture without an embedding in it; a preview, or the embedding was stripped from it")


def save_picture(path: Path, shown_HW3: np.ndarray, tree: dict[str, Any]) -> None:
    """Write a picture that carries a tree of texts, numbers and tensors, in a text and in its pixels."""
    text = json.dumps(tree, default=lambda tensor: {_TENSOR: tensor.tolist()}).encode()
    texts = PngInfo()
    texts.add_text(TEXT, base64.b64encode(text).decode())
    Image.fromarray(_beside(shown_HW3, text)).save(path, format="png", pnginfo=texts)


def _text_in(path: Path) -> bytes | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # far less is allowed here
        picture = Image.open(path, formats=_KINDS)
    with picture:
        if picture.width * picture.height > _MAX_PIXELS or getattr(picture, "is_animated", False):
            raise UserError(
                f"{path} is an animation or a picture of {picture.width} x {picture.height} pixels, none of which hold "
                f"embeddings"
            )
        return _from_texts(picture) or _from_pixels(np.asarray(picture.convert("RGB")))


def _from_texts(picture: Image.Image) -> bytes | None:
    text = getattr(picture, "text", {}).get(TEXT)
    if text is None:
        return None
    if len(text) > 2 * _MAX_JSON:
        raise ValueError("too long")
    return base64.b64decode(text)


def _from_pixels(pixels_HW3: np.ndarray) -> bytes | None:
    """The JSON in the blocks left and right of the picture, or None if there are no such blocks."""
    darkest_HW = pixels_HW3.min(axis=2)
    rows, columns = np.flatnonzero(darkest_HW.any(axis=1)), np.flatnonzero(darkest_HW.any(axis=0))
    if not len(rows):
        return None
    halves_HW3 = pixels_HW3[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 0x0F
    black = np.flatnonzero(halves_HW3.sum(axis=(0, 2)) == 0)
    if len(black) < 2:
        return None
    low, high = halves_HW3[:, : black[0]].reshape(-1), halves_HW3[:, black[-1] + 1 :].reshape(-1)
    size = min(low.size, high.size)
    packed = ((high[:size] ^ _veil(size)) << 4) | (low[:size] ^ _veil(size))
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed.tobytes(), _MAX_JSON)
    except zlib.error:
        return None  # a picture with black columns of its own
    if not unpacker.eof:
        raise ValueError("too long, or cut short")
    return text


def _beside(shown_HW3: np.ndarray, text: bytes) -> np.ndarray:
    """The picture between the two blocks that hold the text."""
    height = len(shown_HW3)
    packed = np.frombuffer(zlib.compress(text, level=9), np.uint8)
    size = -(-packed.size // (3 * height)) * 3 * height
    low, high = (
        (np.resize(halves, size) ^ _veil(size) | 0x40).reshape(height, -1, 3) for halves in (packed & 0x0F, packed >> 4)
    )
    black = np.zeros((height, 1, 3), np.uint8)
    return np.concatenate([low, black, shown_HW3, black, high], axis=1)


def _veil(size: int) -> np.ndarray:
    """The lower four bits of x mod 255, where x goes on as 1664525 x + 1013904223 mod 2^32 from 0."""
    powers = np.full(size, 1664525, np.uint32)
    powers[:1] = 1
    with np.errstate(over="ignore"):
        x = np.cumsum(np.cumprod(powers, dtype=np.uint32), dtype=np.uint32) * np.uint32(1013904223)
    return (x % 255).astype(np.uint8) & 0x0F


def _revive(value: dict[str, Any]) -> dict[str, Any] | Tensor:
    """JSON's stand-in for a tensor as that tensor."""
    if list(value) != [_TENSOR]:
        return value
    numbers = np.array(value[_TENSOR], dtype=np.float64)
    if numbers.ndim > 2 or numbers.size > MAX_VALUES:
        raise ValueError("no vectors")
    with np.errstate(over="ignore"):
        return torch.from_numpy(numbers.astype(np.float32))
