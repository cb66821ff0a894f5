"""Training images without metadata: upright, at most 1024 pixels, nothing in the file but the pixels."""

from pathlib import Path

from PIL import Image, ImageOps

from tinv.errors import UserError
from tinv.runs.files import write_atomically

MAX_SIDE = 1024
"""Pixels of the longer side."""


def write_without_metadata(source: Path, folder: Path, stem: str) -> Path:
    """Re-encodes an image without location, time, camera, owner, color profile and original file name.

    Args:
        source: the image.
        folder: where to write it.
        stem: the new file name; images with transparency become .png, others .jpeg.

    Raises:
        UserError: the image cannot be read, or the file cannot be written.
    """
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            is_transparent = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            if upright.mode.startswith("I;16"):
                upright = upright.point(lambda value: value / 256).convert("L")
            image = upright.convert("RGBA" if is_transparent else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{source} cannot be read as an image ({str(error).splitlines()[0]}).") from error
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    pixels = Image.new(image.mode, image.size)
    pixels.paste(image)
    suffix = "png" if is_transparent else "jpeg"
    path = folder / f"{stem}.{suffix}"
    with write_atomically(path) as draft:
        pixels.save(draft, format=suffix, **({} if is_transparent else {"quality": 95, "subsampling": 0}))
    return path
