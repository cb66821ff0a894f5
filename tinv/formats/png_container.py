"""The image container of AUTOMATIC1111's web UI: the embedding as JSON, in a PNG text chunk or in the pixels.

In the pixels, the JSON is compressed by zlib and split into half bytes. They fill the lower four bits of two blocks,
the low halves left of a visible image and the high halves right of it, XORed with a fixed pseudo-random stream. A black
column separates each block from the image. So an image that has lost its text chunks still contains its embedding.
"""

import base64
import json
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, Content
from tinv.runs.files import write_atomically

_TEXT_KEY = "sd-ti-embedding"
_TENSOR = "TORCHTENSOR"
_FORMATS = ("PNG", "WEBP", "AVIF")
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8\xff"
_HEADS = (_PNG, b"RIFF", _JPEG)
_MAX_BYTES = 2**25
_MAX_JSON = 2**22
"""Bytes: 75 vectors of SDXL take 3.4 million."""
_MAX_PIXELS = 2**22
_MAX_CHUNKS = {True: 2**13, False: 2**6}
"""Of a PNG: of its pixels (IDAT), and all others. Pillow would read any number of them, and unpack each text."""


def is_image(head: bytes) -> bool:
    """Returns whether a file that starts like this is a PNG, WebP, AVIF or JPEG."""
    return head.startswith(_HEADS) or head[4:8] == b"ftyp"


def open_image(path: Path) -> Content:
    """Returns the content that is embedded in an image.

    Raises:
        UserError: the image holds no embedding, or is damaged.
    """
    with path.open("rb") as file:
        head = file.read(4)
        if path.stat().st_size > _MAX_BYTES or (head == _PNG and not _has_few_chunks(file)):
            raise UserError(f"{path} is an animation or a far larger image than one that holds an embedding")
    try:
        text = None if head.startswith(_JPEG) else _read_json(path)  # the losses of a JPEG destroy an embedding
        if text is not None:
            return Content(path, "image", json.loads(text, object_hook=_restore_tensor))
    except UserError:
        raise
    except Exception as error:  # a damaged image can raise anything in the decoders
        raise UserError(f"{path} is an image whose embedding cannot be read; it was edited or cut short") from error
    raise UserError(f"{path} is an image without an embedding: a preview, or the embedding was stripped from it")


def save_image(path: Path, image_HW3: np.ndarray, tree: dict[str, Any]) -> Path:
    """Writes an image that holds a tree of texts, numbers and tensors, in a text chunk and in its pixels."""
    text = json.dumps(tree, default=lambda tensor: {_TENSOR: tensor.tolist()}).encode()
    chunks = PngInfo()
    chunks.add_text(_TEXT_KEY, base64.b64encode(text).decode())
    with write_atomically(path) as draft:
        Image.fromarray(_embed(image_HW3, text)).save(draft, format="png", pnginfo=chunks)
    return path


def _read_json(path: Path) -> bytes | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
        image = Image.open(path, formats=_FORMATS)
    with image:
        if image.width * image.height > _MAX_PIXELS or getattr(image, "is_animated", False):
            raise UserError(
                f"{path} is an animation or an image of {image.width} x {image.height} pixels, not an embedding"
            )
        text = getattr(image, "text", {}).get(_TEXT_KEY)
        if text is None:
            return _extract(np.asarray(image.convert("RGB")))
        if len(text) > 2 * _MAX_JSON:
            raise ValueError("too long")
        return base64.b64decode(text)


def _has_few_chunks(file: BinaryIO) -> bool:
    num_chunks = {True: 0, False: 0}
    file.seek(8)
    while len(header := file.read(8)) == 8:
        is_pixels = header[4:] == b"IDAT"
        num_chunks[is_pixels] += 1
        if num_chunks[is_pixels] > _MAX_CHUNKS[is_pixels]:
            return False
        file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return True


def _extract(pixels_HW3: np.ndarray) -> bytes | None:
    """Returns the JSON in the blocks left and right of the image, or None if there are no such blocks."""
    darkest_HW = pixels_HW3.min(axis=2)
    rows, columns = np.flatnonzero(darkest_HW.any(axis=1)), np.flatnonzero(darkest_HW.any(axis=0))
    if not len(rows):
        return None
    halves_HW3 = pixels_HW3[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 0x0F
    black = np.flatnonzero(halves_HW3.sum(axis=(0, 2)) == 0)
    if len(black) < 2:
        return None
    low, high = halves_HW3[:, : black[0]].reshape(-1), halves_HW3[:, black[-1] + 1 :].reshape(-1)
    size = min(low.size, high.size, _MAX_JSON)
    stream = _stream(size)
    packed = ((high[:size] ^ stream) << 4) | (low[:size] ^ stream)
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed.tobytes(), _MAX_JSON)
    except zlib.error:
        return None  # an image that happens to have black columns
    if not unpacker.eof:
        raise ValueError("too long, or cut short")
    return text


def _embed(image_HW3: np.ndarray, text: bytes) -> np.ndarray:
    """Returns the image between the two blocks that hold the text."""
    height = len(image_HW3)
    packed = np.frombuffer(zlib.compress(text, level=9), np.uint8)
    size = -(-packed.size // (3 * height)) * 3 * height
    stream = _stream(size)
    low, high = (
        (np.resize(halves, size) ^ stream | 0x40).reshape(height, -1, 3) for halves in (packed & 0x0F, packed >> 4)
    )
    black = np.zeros((height, 1, 3), np.uint8)
    return np.concatenate([low, black, image_HW3, black, high], axis=1)


def _stream(size: int) -> np.ndarray:
    """Returns the lower four bits of x mod 255 for x <- 1664525 x + 1013904223 mod 2^32, starting at 0."""
    powers = np.full(size, 1664525, np.uint32)
    powers[:1] = 1
    with np.errstate(over="ignore"):
        x = np.cumsum(np.cumprod(powers, dtype=np.uint32), dtype=np.uint32) * np.uint32(1013904223)
    return (x % 255).astype(np.uint8) & 0x0F


def _restore_tensor(value: dict[str, Any]) -> dict[str, Any] | Tensor:
    """Returns the tensor that a JSON object stands for; other objects unchanged."""
    if list(value) != [_TENSOR]:
        return value
    numbers = np.array(value[_TENSOR], dtype=np.float64)
    if numbers.ndim > 2 or numbers.size > MAX_VALUES:
        raise ValueError("no vectors")
    with np.errstate(over="ignore"):
        return torch.from_numpy(numbers.astype(np.float32))
