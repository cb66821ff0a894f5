"""Pictures from a folder: found, opened the right way up, cut to size.

H W height and width of the training picture.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from tinv.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class Picture:
    """One training picture, ready for the VAE."""

    path: Path
    pixels: Tensor
    """[3, H, W] in [-1, 1], float32."""
    geometry: Tensor
    """[6]: original height and width, top and left of the crop, target height and width, in pixels; int64."""


def find_images(folder: Path) -> list[Path]:
    """The picture files of a folder in the order of their names; other files are passed over with a word about them.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder: there is no folder {folder}; give the folder that holds your 3 to 5 pictures")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = [path.name for path in files if path not in images]
    if not images:
        raise UserError(
            f"data.folder: {folder} holds no picture{f' (only {_listed(others)})' if others else ''}; "
            f"put 3 to 5 pictures there ({', '.join(suffix[1:] for suffix in SUFFIXES)})"
        )
    if others:
        warnings.warn(f"data.folder: passed over {_listed(others)}, not pictures by their names", stacklevel=2)
    return images


def open_picture(path: Path, *, resolution: int, fit: str, background: str) -> Picture:
    """Open a file, turn it as its EXIF data say, lay it on the background where it is transparent, cut it to size.

    Args:
        path: of the picture.
        resolution: side of the square, in pixels.
        fit: `crop` keeps the proportions and the centre, `squash` keeps everything and distorts.
        background: a colour name or #rrggbb that shows through transparent parts.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"{path} has {width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels that "
                    f"are opened; scale it down, {resolution} x {resolution} are used"
                )
            image = _flatten(ImageOps.exif_transpose(file), background)
    except UserError:
        raise
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as a picture ({str(error).splitlines()[0]}); mend or remove it"
        ) from error
    return FITS[fit](path, image, resolution)


def crop(path: Path, image: Image.Image, resolution: int) -> Picture:
    """The centred square of a picture, scaled to `resolution`."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.resize((resolution, resolution), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    scale = resolution / side
    return _picture(path, square, image.size, (round(top * scale), round(left * scale)))


def squash(path: Path, image: Image.Image, resolution: int) -> Picture:
    """The whole picture, scaled to a square whatever its proportions."""
    square = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return _picture(path, square, image.size, (0, 0))


FITS: dict[str, Callable[[Path, Image.Image, int], Picture]] = {"crop": crop, "squash": squash}


def check_background(background: str) -> None:
    """Raises:
    UserError: this is no colour.
    """
    try:
        ImageColor.getrgb(background)
    except ValueError as error:
        raise UserError(
            f"data.background must be a colour such as white, gray or #80c0ff, got {background!r}"
        ) from error


def _flatten(image: Image.Image, background: str) -> Image.Image:
    """RGB without transparency; the hidden colours under transparent pixels never show."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba)
    elif image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _picture(path: Path, square: Image.Image, original: tuple[int, int], top_left: tuple[int, int]) -> Picture:
    resolution = square.size[0]
    bytes_HW3 = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(resolution, resolution, 3)
    geometry = torch.tensor([original[1], original[0], *top_left, resolution, resolution])
    return Picture(path, bytes_HW3.permute(2, 0, 1).float() / 127.5 - 1.0, geometry)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
