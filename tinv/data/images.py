"""Pictures from a folder: found, opened the right way up, cut to size.

H W height and width of the training picture.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from tinv.data.crops import Crop
from tinv.errors import UserError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".png", ".tif", ".tiff", ".webp")
CAPTION_SUFFIXES = (".txt", ".caption")
"""A file with one of these endings and a picture's name holds its captions."""
MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class CroppedImage:
    """One way in which a picture is shown, ready for the VAE."""

    path: Path
    pixels: Tensor
    """[3, H, W] in [-1, 1], float32."""
    crop: Crop
    """Which part of the file it is."""
    mask: Tensor | None = None
    """[1, H, W] in [0, 1], how much each place counts; None if all count alike."""

    @property
    def geometry(self) -> Tensor:
        """[6]: original height and width, top and left of the crop, target height and width, in pixels; int64."""
        return self.crop.geometry()

    def mirrored(self) -> "CroppedImage":
        """Left and right exchanged, in the mask and the geometry too."""
        mask = None if self.mask is None else self.mask.flip(-1)
        return CroppedImage(self.path, self.pixels.flip(-1), self.crop.mirrored(), mask)


def find_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files of a folder in the order of their names; other files are passed over with a word about them.

    Args:
        folder: where they are.
        recursive: those in its sub-folders, too. Whatever begins with a dot is left alone.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder: there is no folder {folder}; give the folder that holds your 3 to 5 pictures")
    found = sorted(folder.rglob("*") if recursive else folder.iterdir())
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = [path for path in found if path.is_file()]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    known = {*images, *(image.with_suffix(suffix) for image in images for suffix in CAPTION_SUFFIXES)}
    others = [path.name for path in files if path not in known]
    if not images:
        inside = [f"{path.name}/" for path in found if path.is_dir()]
        only = f" (only {format_names(others + inside)})" if others or inside else ""
        remedy = "; data.recursive=true looks into its folders" if inside and not recursive else ""
        raise UserError(
            f"data.folder: {folder} holds no picture{only}; "
            f"put 3 to 5 pictures there ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)}){remedy}"
        )
    if others:
        warnings.warn(f"data.folder: passed over {format_names(others)}, not pictures by their names", stacklevel=2)
    return images


def open_image(path: Path, *, background: str) -> tuple[Image.Image, Image.Image | None]:
    """A picture the right way up as RGB, and its alpha channel as `L` if it has one.

    Args:
        path: of the file.
        background: a colour name or #rrggbb that shows through transparent parts; what is hidden there never does.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    with open_upright(path) as image:
        if not has_alpha(image):
            if image.mode.startswith("I;16"):
                image = image.point(lambda value: value / 256).convert("L")
            return image.convert("RGB"), None
        rgba = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba).convert("RGB")
        return rgb, rgba.getchannel("A")


@contextmanager
def open_upright(path: Path) -> Iterator[Image.Image]:
    """A picture file, decoded and turned as its EXIF data say.

    Raises:
        UserError: naming the file and what is wrong with it, also for what goes wrong while it is converted.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"{path} has {width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels that "
                    f"are opened; scale it down, a few thousand pixels a side are plenty"
                )
            yield ImageOps.exif_transpose(file)
    except UserError:
        raise
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as a picture ({str(error).splitlines()[0]}); mend or remove it"
        ) from error


def has_alpha(image: Image.Image) -> bool:
    """Whether some of its pixels may be transparent."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def crop_image(path: Path, image: Image.Image, crop: Crop, mask: Image.Image | None = None) -> CroppedImage:
    """A part of a picture at the size in which it is shown.

    Args:
        path: for messages.
        image: RGB.
        cut: which part.
        mask: `L` with the picture's proportions, white where it counts; brought to size by area.
    """
    width, height = crop.size
    shown = image.resize(crop.size, Image.Resampling.LANCZOS, crop.box)
    bytes_HW3 = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).view(height, width, 3)
    pixels = bytes_HW3.permute(2, 0, 1).float() / 127.5 - 1.0
    if mask is None:
        return CroppedImage(path, pixels, crop)
    across, down = mask.width / image.width, mask.height / image.height
    left, top, right, bottom = crop.box
    box = (left * across, top * down, right * across, bottom * down)
    weights = mask.resize(crop.size, Image.Resampling.BOX, box)
    bytes_HW = torch.frombuffer(bytearray(weights.tobytes()), dtype=torch.uint8).view(1, height, width)
    return CroppedImage(path, pixels, crop, bytes_HW.float() / 255)


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


def format_names(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
