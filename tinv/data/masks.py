"""Loss masks: images with the same names in a folder, white where the loss counts, or the images' own alpha."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tinv.data.crops import Size
from tinv.data.images import IMAGE_FORMATS, IMAGE_SUFFIXES, format_names, has_alpha, open_image
from tinv.errors import UserError

ALPHA = "alpha"
_TOLERANCE = 0.02
"""Largest relative difference of the aspect ratios of a mask and its image; resizing one of them rounds its size."""


def find_masks(folder: Path, images: Sequence[Path], *, root: Path) -> dict[Path, Path]:
    """Returns the mask of each image that has one: the file with the same name and any image suffix.

    Args:
        folder: of the masks; an image in a sub-folder of `root` has its mask in a sub-folder of the same name.
        images: the image files.
        root: the folder of the images.

    Raises:
        UserError: no such folder, or no mask in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"data.masks={folder}: no such folder. Set it to a folder of black-and-white images with your images' "
            f"names, or to alpha for the images' own transparency."
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    by_name = {path.relative_to(folder).with_suffix(""): path for path in files}
    names = {image: image.relative_to(root).with_suffix("") for image in images}
    masks = {image: by_name[name] for image, name in names.items() if name in by_name}
    if not masks:
        raise UserError(
            f"data.masks={folder}: no mask for {format_names([image.name for image in images])}. "
            f"A mask has its image's name, such as {names[images[0]]}.png."
        )
    _warn_without_mask([image for image in images if image not in masks], f"no mask in {folder}")
    return masks


def check_alpha_channels(images: Sequence[Path]) -> None:
    """Reads the images' headers and warn about those without an alpha channel; unreadable files are skipped.

    Raises:
        UserError: no image has an alpha channel.
    """
    without = []
    for path in images:
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as file:
                if not has_alpha(file):
                    without.append(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    if len(without) == len(images):
        raise UserError("data.masks=alpha: no image has an alpha channel. Set it to a folder of masks, or to null.")
    _warn_without_mask(without, "no alpha channel")


def load_mask(path: Path, image_path: Path, image_size: Size) -> Image.Image:
    """Returns a mask as `L`, in its own size; transparent pixels are black.

    Raises:
        UserError: it cannot be read, or its aspect ratio differs from the image's.
    """
    mask = open_image(path, background="black")[0].convert("L")
    width, height = image_size
    if abs((mask.width / mask.height) / (width / height) - 1) > _TOLERANCE:
        raise UserError(
            f"data.masks: {path} has {mask.width} x {mask.height} pixels, but {image_path} has {width} x {height}. "
            f"A mask must have its image's aspect ratio."
        )
    return mask


def _warn_without_mask(images: Sequence[Path], reason: str) -> None:
    if images:
        names = format_names([image.name for image in images])
        warnings.warn(f"data.masks: {names}: {reason}; every pixel counts.", stacklevel=3)
