"""How often a pass over the pictures shows each of them."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from tinv.errors import UserError


def count_repeats(images: Sequence[Path], repeats: int | Mapping[str, int], *, root: Path) -> dict[Path, int]:
    """How often each picture is shown in a pass; those that are shown never are left out.

    A sub-folder called `10_mugs` makes that 10 times as often, as in kohya's trainer.

    Args:
        images: the pictures.
        repeats: of all of them, or by file name, or by a pattern such as `front*`; the last that fits counts, and
            pictures that none fits are shown once. 0 leaves a picture out.
        root: the folder of the pictures.

    Raises:
        UserError: a count is negative, a pattern fits nothing, or nothing is left.
    """
    by_name = {"*": repeats} if isinstance(repeats, int) else repeats
    counts = dict.fromkeys(images, 1)
    for pattern, count in by_name.items():
        if isinstance(repeats, int) and count < 1:
            raise UserError(f"data.repeats must be 1 or more, got {count}")
        if count < 0:
            raise UserError(f"data.repeats: {pattern} must be 0 (left out) or more, got {count}")
        fitting = [image for image in images if _fits(image.relative_to(root), pattern)]
        if not fitting:
            raise UserError(f"data.repeats: no picture is called {pattern}; there are, for example, {images[0].name}")
        counts |= dict.fromkeys(fitting, count)
    counted = {image: count * _of_folders(image.relative_to(root)) for image, count in counts.items()}
    if not any(counted.values()):
        raise UserError("data.repeats leaves out every picture; give one of them 1 or more")
    return {image: count for image, count in counted.items() if count}


def _fits(inside: Path, pattern: str) -> bool:
    return fnmatch(inside.name, pattern) or fnmatch(inside.as_posix(), pattern)


def _of_folders(inside: Path) -> int:
    product = 1
    for folder in inside.parts[:-1]:
        if match := re.match(r"([1-9]\d*)_", folder):
            product *= int(match[1])
    return product
