"""Which places of a picture count: pictures of the same names in a folder, white where they do, or its own alpha."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tinv.data.crops import Size
from tinv.data.images import IMAGE_SUFFIXES, format_names, has_alpha, open_image
from tinv.errors import UserError

ALPHA = "alpha"
_SLACK = 0.02
"""How far a mask's proportions may be from its picture's: rounding when one of them was scaled."""


def find_masks(folder: Path, images: Sequence[Path], *, root: Path) -> dict[Path, Path]:
    """The mask of each picture that has one: the file of the same name, whatever its ending.

    Args:
        folder: of the masks; pictures in a sub-folder of `root` have theirs in a sub-folder of the same name.
        images: the pictures.
        root: the folder of the pictures.

    Raises:
        UserError: no such folder, or no mask in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"data.masks: there is no folder {folder}; give a folder of black and white pictures with your pictures' "
            f"names, or alpha for the pictures' own transparency"
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    by_name = {path.relative_to(folder).with_suffix(""): path for path in files}
    names = {image: image.relative_to(root).with_suffix("") for image in images}
    masks = {image: by_name[name] for image, name in names.items() if name in by_name}
    if not masks:
        raise UserError(
            f"data.masks: {folder} holds no mask of {format_names([image.name for image in images])}; "
            f"a mask has its picture's name, such as {names[images[0]]}.png"
        )
    _tell_of_the_rest([image for image in images if image not in masks], f"no mask in {folder} for")
    return masks


def check_alpha_channels(images: Sequence[Path]) -> None:
    """Look at the pictures' headers for alpha channels; what cannot be read is reported when it is opened.

    Raises:
        UserError: none of them has one.
    """
    without = []
    for path in images:
        try:
            with Image.open(path) as file:
                if not has_alpha(file):
                    without.append(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    if len(without) == len(images):
        raise UserError(
            "data.masks=alpha, but no picture has an alpha channel; give a folder of masks, or null to do without"
        )
    _tell_of_the_rest(without, "no alpha channel in")


def load_mask(path: Path, picture: Path, size: Size) -> Image.Image:
    """A mask as `L`, in its own size; transparent parts of it are black.

    Raises:
        UserError: it cannot be read, or has other proportions than the picture.
    """
    mask = open_image(path, background="black")[0].convert("L")
    ratio = (mask.width / mask.height) / (size[0] / size[1])
    if abs(ratio - 1) > _SLACK:
        raise UserError(
            f"{path} has {mask.width} x {mask.height} pixels and {picture} has {size[0]} x {size[1]}; "
            f"a mask needs its picture's proportions"
        )
    return mask


def _tell_of_the_rest(images: Sequence[Path], reason: str) -> None:
    if images:
        warnings.warn(
            f"data.masks: {reason} {format_names([image.name for image in images])}: all of it counts", stacklevel=3
        )
