"""The training pictures for others: upright, small enough to look at, and with nothing in the file but the picture."""

from pathlib import Path

from PIL import Image, ImageOps

from tinv.errors import UserError
from tinv.runs.files import write_atomically

LARGEST = 1024
"""Pixels of the longer side."""


def write_clean(source: Path, folder: Path, stem: str) -> Path:
    """Write a picture anew: no place, no time, no camera, no name of its owner, and not the file's own name.

    Args:
        source: the picture.
        folder: where to.
        stem: of the new name; transparent pictures become .png, others .jpeg.

    Raises:
        UserError: it cannot be read, or the place cannot be written to.
    """
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            is_transparent = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            if upright.mode.startswith("I;16"):
                upright = upright.point(lambda value: value / 256).convert("L")
            picture = upright.convert("RGBA" if is_transparent else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{source} cannot be read as a picture ({str(error).splitlines()[0]})") from error
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    plain = Image.new(picture.mode, picture.size)  # a copy has the pixels alone
    plain.paste(picture)
    kind = "png" if is_transparent else "jpeg"
    path = folder / f"{stem}.{kind}"
    with write_atomically(path) as draft:
        plain.save(draft, format=kind, **({} if is_transparent else {"quality": 95, "subsampling": 0}))
    return path
