"""A damaged or hostile image is opened within bounded memory or refused with a sentence, and runs no other program."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.fuzz.conftest import CaseCounter
from tests.limits import bounded
from tinv.data.cropped_image import crop_image
from tinv.data.crops import center_crop
from tinv.data.images import IMAGE_SUFFIXES, MAX_PIXELS, open_image
from tinv.data.masks import load_mask
from tinv.errors import UserError

pytestmark = pytest.mark.slow
IMAGES = {
    "png": ("RGB", "PNG", {}),
    "png gray": ("L", "PNG", {}),
    "png alpha": ("RGBA", "PNG", {}),
    "png palette": ("P", "PNG", {"transparency": 0}),
    "png 16 bit": ("I;16", "PNG", {}),
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "webp": ("RGBA", "WEBP", {}),
    "avif": ("RGB", "AVIF", {}),
    "gif": ("P", "GIF", {}),
    "bmp": ("RGB", "BMP", {}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff lzw": ("RGBA", "TIFF", {"compression": "tiff_lzw"}),
    "tiff jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
}
PROGRAMS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(MARKER) (w) file closefile\n%%EOF\n",
    "pdf": b"%PDF-1.4\n1 0 obj<</S/JavaScript/JS(MARKER)>>endobj\n%%EOF\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "imagemagick": b"push graphic-context\nimage over 0,0 0,0 'ephemeral:MARKER'\npop graphic-context\n",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(80),
}


def encode(name: str) -> bytes:
    """Returns a small image of one of IMAGES."""
    mode, kind, options = IMAGES[name]
    image = Image.effect_noise((48, 40), 90).convert("RGB")
    ImageDraw.Draw(image).ellipse((4, 4, 30, 30), fill=(200, 30, 60))
    if mode == "I;16":
        image = Image.frombytes(mode, (48, 40), bytes(range(256)) * 15)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def open_or_refuse(path: Path, mebibytes: int = 32, seconds: float = 2) -> bool:
    """Returns whether a file is opened as a training image; opens it as a mask, too."""
    message = None
    with bounded(mebibytes, seconds), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata
        try:
            image, alpha = open_image(path, background="white")
            crop_image(path, image, center_crop(image.size, 16), alpha)
            load_mask(path, path, image.size)
        except UserError as error:
            message = str(error)
    if message is not None:
        assert str(path) in message and "\n" not in message and len(message) < 1000
        return False
    assert image.mode == "RGB" and image.width * image.height <= MAX_PIXELS
    return True


@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_image_is_opened_or_refused(tmp_path: Path, name: str, count_cases: CaseCounter) -> None:
    content, rng, file = encode(name), count_cases.rng, tmp_path / f"a.{name.partition(' ')[0]}"
    file.write_bytes(content)
    assert open_or_refuse(file)
    for number in range(count_cases.scaled(150)):
        changed = bytearray(content)
        start = rng.randrange(len(changed) if number % 2 else min(len(changed), 100))  # half of them in the header
        match rng.randrange(3):
            case 0:
                del changed[start:]
            case 1:
                changed[start] = rng.randrange(256)
            case 2:
                changed[start : start + 4] = rng.choice((b"", b"\xff" * 4, bytes(4), rng.randbytes(4)))
        with count_cases.case(f"{name}, change {number}"):
            file.write_bytes(changed)
            open_or_refuse(file, mebibytes=1200, seconds=8)  # a changed header may claim up to MAX_PIXELS


@pytest.mark.parametrize(("mode", "channels"), [("gray", 1), ("rgb", 3), ("alpha", 4)])
def test_a_png_of_any_size_takes_bounded_memory(
    tmp_path: Path, mode: str, channels: int, count_cases: CaseCounter
) -> None:
    """All of its rows are equal, so that a file of kilobytes holds millions of pixels."""
    color = {1: 0, 3: 2, 4: 6}[channels]
    for _ in range(count_cases.scaled(6)):
        width, height = (int(10 ** count_cases.rng.uniform(2, 4.6)) for _ in range(2))
        with count_cases.case(f"{mode} {width} x {height}"):
            packer, rows = zlib.compressobj(1), b""
            if width * height <= 1.2 * MAX_PIXELS:
                rows = b"".join(packer.compress(bytes(1 + channels * width)) for _ in range(height)) + packer.flush()
            header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
            chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
            file = tmp_path / "a.png"
            file.write_bytes(
                b"\x89PNG\r\n\x1a\n"
                + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
            )
            is_opened = open_or_refuse(file, mebibytes=64 + 20 * MAX_PIXELS // 2**20, seconds=20)
            assert is_opened == (width * height <= MAX_PIXELS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_of_another_type_runs_no_program(tmp_path: Path, name: str, count_cases: CaseCounter) -> None:
    for suffix in IMAGE_SUFFIXES:
        with count_cases.case(f"{name} as {suffix}"):
            file = tmp_path / f"a{suffix}"
            file.write_bytes(PROGRAMS[name].replace(b"MARKER", str(tmp_path / "marker").encode()))
            assert not open_or_refuse(file)
            assert not (tmp_path / "marker").exists()
