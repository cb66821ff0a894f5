"""Thumbnails of the images that a run trained on."""

from pathlib import Path

from PIL import Image, ImageOps

from tinv.data.locate import HUB_SCHEME
from tinv.errors import UserError
from tinv.publish.run_config import RunConfig
from tinv.report.downsample import pick_evenly
from tinv.report.thumbnails import thumbnail

MAX_IMAGES, MAX_BYTES = 60, 2_000_000


def training_thumbnails(run_dir: Path) -> dict[str, str]:
    """Returns thumbnails by file name; empty if the images are no longer on this machine."""
    paths = pick_evenly(_find_images(run_dir), MAX_IMAGES)
    thumbnails = {}
    for path in paths:
        try:
            with Image.open(path) as file:
                file.draft("RGB", (1024, 1024))
                thumbnails[path.name] = thumbnail(ImageOps.exif_transpose(file), MAX_BYTES // len(paths))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    return thumbnails


def _find_images(run_dir: Path) -> list[Path]:
    """Returns the images in folders of this machine; a report does not use the network."""
    try:
        config = RunConfig(run_dir)
        groups = config.data_groups.values()
        local = [group for group in groups if not str(config.get(f"{group}.folder")).startswith(HUB_SCHEME)]
        return [path for group in local for path in config.training_images(group)]
    except (UserError, OSError, ValueError):
        return []
