"""What a run learned from, to look at."""

from pathlib import Path

from PIL import Image, ImageOps

from tinv.data.locate import HUB_SCHEME
from tinv.errors import UserError
from tinv.publish.run_facts import concept_parts, read_config, setting, training_pictures, working_dir
from tinv.report.downsample import evenly
from tinv.report.thumbnails import thumbnail
from tinv.runs.reader import RunReader

MOST, MOST_BYTES = 60, 2_000_000


def training_thumbnails(run: Path) -> dict[str, str]:
    """Thumbnails by file name; none where the pictures are not on this machine any more."""
    found = evenly(_pictures(run), MOST)
    thumbnails = {}
    for path in found:
        try:
            with Image.open(path) as file:
                file.draft("RGB", (1024, 1024))
                upright = ImageOps.exif_transpose(file)
                thumbnails[path.name] = thumbnail(upright, MOST_BYTES // len(found))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    return thumbnails


def _pictures(run: Path) -> list[Path]:
    try:
        cfg = read_config(run)
        here = working_dir(RunReader(run))
        groups = [f"{part}data" for part in concept_parts(cfg)]
        local = [group for group in groups if not str(setting(cfg, f"{group}.folder")).startswith(HUB_SCHEME)]
        return [path for group in local for path in training_pictures(cfg, here, group)]  # without a network
    except (UserError, OSError, ValueError):
        return []
