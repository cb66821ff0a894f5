"""Finds the images of a folder, and opens them upright."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageColor, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from tinv.errors import UserError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".png", ".tif", ".tiff", ".webp")
CAPTION_SUFFIXES = (".txt", ".caption")
"""A file with an image's name and one of these suffixes holds its captions."""
MAX_PIXELS = 64_000_000
"""An image takes up to 16 bytes for each pixel while it is converted. A larger JPEG is decoded at a half, a quarter or
an eighth of its size."""
IMAGE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's names of the formats in IMAGE_SUFFIXES. It would run another program, Ghostscript, on others."""


def find_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Returns the image files of a folder, sorted by name; warn about files of other types.

    Args:
        folder: of the images.
        recursive: include sub-folders. Names that begin with a dot are ignored.

    Raises:
        UserError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder={folder}: no such folder. Set it to the folder of your 3 to 5 images.")
    paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = [path for path in paths if path.is_file()]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    used = {*images, *(image.with_suffix(suffix) for image in images for suffix in CAPTION_SUFFIXES)}
    others = [path.name for path in files if path not in used]
    if not images:
        subfolders = [f"{path.name}/" for path in paths if path.is_dir()]
        only = f", only {format_names(others + subfolders)}" if others or subfolders else ""
        remedy = " To search its sub-folders, set data.recursive=true." if subfolders and not recursive else ""
        raise UserError(
            f"data.folder={folder}: no images in this folder{only}. "
            f"Put 3 to 5 images there ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)}).{remedy}"
        )
    if others:
        warnings.warn(f"data.folder: ignored {format_names(others)}: not image files by their suffixes.", stacklevel=2)
    return images


def open_image(path: Path, *, background: str) -> tuple[Image.Image, Image.Image | None]:
    """Returns an upright image as RGB, and its alpha channel as `L` if it has one.

    Args:
        path: of the file.
        background: a color name or #rrggbb for transparent pixels; their hidden colors are never used.

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
    """Opens an image file and rotates it as its EXIF data says; a JPEG above MAX_PIXELS is reduced.

    Raises:
        UserError: naming the file and what is wrong with it; also for errors raised inside the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            opened = Image.open(path, formats=IMAGE_FORMATS)
        with opened as file:
            width, height = file.size
            if isinstance(file, JpegImageFile) and "progressive" not in file.info:
                _reduce_jpeg(file)
            if file.width * file.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {width} x {height} pixels, more than the limit of {MAX_PIXELS // 1_000_000} megapixels. "
                    f"Resize the image; a few thousand pixels a side are enough."
                )
            yield ImageOps.exif_transpose(file)
    except UserError:
        raise
    except Exception as error:  # a damaged image can raise anything in the decoders
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path}: cannot be read as an image ({reason}). Repair or remove the file.") from error


def _reduce_jpeg(file: JpegImageFile) -> None:
    """Selects a scale of 1/2, 1/4 or 1/8 at which a JPEG has at most MAX_PIXELS; the decoder then takes no more memory.

    A progressive JPEG takes the memory of its full size at any scale.
    """
    for scale in (1, 2, 4, 8):
        if (file.width // scale) * (file.height // scale) <= MAX_PIXELS:
            if scale > 1:
                file.draft(None, (file.width // scale, file.height // scale))
            return


def has_alpha(image: Image.Image) -> bool:
    """Whether some of its pixels may be transparent."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def check_background(background: str) -> None:
    """Checks that `data.background` is a color.

    Raises:
        UserError: it is not.
    """
    try:
        ImageColor.getrgb(background)
    except ValueError as error:
        raise UserError(f"data.background={background}: not a color. Use one such as white or #80c0ff.") from error


def format_names(names: Sequence[str]) -> str:
    """Returns the first five names, and how many more there are."""
    first = ", ".join(names[:5])
    return first if len(names) <= 5 else f"{first} and {len(names) - 5} more"
