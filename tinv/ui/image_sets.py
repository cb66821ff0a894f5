"""Sets of training images that the page collects, in `<outputs>/uploads/<id>`.

The files of a set keep the names that they had. A run does not read them: it gets a folder of its own with numbered
copies in the chosen order and caption files beside them, which nothing changes later.
"""

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tinv.data.images import CAPTION_SUFFIXES, find_images
from tinv.errors import UserError
from tinv.runs.files import write_folder_atomically, write_json
from tinv.ui.image_check import MAX_SECONDS

UPLOADS = "uploads"
MAX_IMAGES = 100
MAX_SET_BYTES = 1_000_000_000
MAX_CAPTION = 2000
"""Characters."""
_MANIFEST = "images.json"
_COPIES, _ARRANGED, _STARTED = ".small", ".arranged", ".started"
_SET_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
"""Of Pillow's formats that have another name than their files."""


@dataclass(frozen=True)
class ChosenImage:
    """An image of a set as the page arranges it."""

    name: str
    caption: str


class ImageSet:
    """A folder of images that were checked."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def images(self) -> list[dict[str, Any]]:
        """Name, size and caption of each image, in the order in which they came."""
        try:
            images: list[dict[str, Any]] = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return images

    def copy_path(self, name: str) -> Path:
        """Returns the path of the small copy of an image.

        Raises:
            UserError: there is no such image.
        """
        if name not in {image["name"] for image in self.images}:
            raise UserError(f"{name[:100]}: there is no such image.")
        return self.folder / _COPIES / f"{name}.webp"

    def add(self, name: str, content: Path, caption: str = "") -> dict[str, Any]:
        """Moves a file into the set after it was opened in a process of its own.

        Raises:
            UserError: it is no image, or the set is full.
        """
        images = self.images
        used = sum(image["bytes"] for image in images)
        if len(images) >= MAX_IMAGES or used + content.stat().st_size > MAX_SET_BYTES:
            limits = f"{MAX_IMAGES} images of {MAX_SET_BYTES // 10**9} GB together"
            raise UserError(f"{name[:100]}: a set has at most {limits}.")
        draft = self.folder / _COPIES / f".{secrets.token_hex(8)}.webp"
        draft.parent.mkdir(exist_ok=True)
        checked = _check_image(content, draft)
        if "error" in checked:
            draft.unlink(missing_ok=True)
            raise UserError(f"{name[:100]}: {checked['error']}")
        stem = re.sub(r"[^\w .()-]+", "_", Path(name).stem).strip(" .")[:60] or "image"
        names = {image["name"].lower() for image in images}
        suffix = _SUFFIXES.get(checked["format"], f".{checked['format'].lower()}")
        numbers = ("", *(f" ({number})" for number in range(2, MAX_IMAGES + 2)))
        own = next(candidate for number in numbers if (candidate := f"{stem}{number}{suffix}").lower() not in names)
        content.replace(self.folder / own)
        draft.replace(self.folder / _COPIES / f"{own}.webp")
        image = {"name": own, "bytes": (self.folder / own).stat().st_size, "caption": caption, **checked}
        write_json(self.folder / _MANIFEST, [*images, image])
        return image

    def add_folder(self, source: Path) -> None:
        """Copies the images of a folder of this machine, with the captions in files beside them.

        Raises:
            UserError: there is no such folder, it has no images, or one of them cannot be read.
        """
        paths = find_images(source.expanduser())
        if len(paths) > MAX_IMAGES:
            raise UserError(f"{source}: {len(paths)} images, more than {MAX_IMAGES}. Start such a run in a shell.")
        for path in paths:
            draft = self.folder / f".{secrets.token_hex(8)}"
            try:
                shutil.copyfile(path, draft)
                self.add(path.name, draft, caption=_read_caption(path))
            except OSError as error:
                raise UserError(f"{path}: cannot be copied ({error.strerror}).") from None
            finally:
                draft.unlink(missing_ok=True)

    def arrange(self, chosen: Sequence[ChosenImage]) -> Path:
        """Returns a folder with numbered copies of the chosen images and their captions; equal choices, equal folder.

        Removes the folders of earlier choices that no run was started with.

        Raises:
            UserError: an image is not in the set, or a caption is too long.
        """
        own_names = {image["name"] for image in self.images}
        for image in chosen:
            if image.name not in own_names:
                raise UserError(f"{image.name[:100]}: there is no such image.")
            if len(image.caption) > MAX_CAPTION:
                raise UserError(f"{image.name}: the caption has more than {MAX_CAPTION} characters.")
        digest = sha256(repr([(image.name, image.caption) for image in chosen]).encode()).hexdigest()[:10]
        folder = self.folder / f"images-{digest}"
        if folder.is_dir() or not chosen:
            return folder
        width = len(str(len(chosen)))
        with write_folder_atomically(folder, marker=_ARRANGED) as draft:
            for number, image in enumerate(chosen, start=1):
                target = draft / f"{number:0{width}d} {image.name}"
                shutil.copyfile(self.folder / image.name, target)
                if caption := " ".join(image.caption.split()):
                    target.with_suffix(CAPTION_SUFFIXES[0]).write_text(f"{caption}\n", encoding="utf-8", newline="\n")
            (draft / _ARRANGED).touch()
        for other in self.folder.glob("images-*"):
            if other != folder and not (other / _STARTED).exists():
                shutil.rmtree(other, ignore_errors=True)
        return folder


def keep_for_run(folder: Path) -> None:
    """Keeps an arranged folder, because a run reads it."""
    (folder / _STARTED).touch()


class ImageSets:
    """All sets below the outputs."""

    def __init__(self, root: Path):
        self.folder = root / UPLOADS

    def create(self) -> str:
        """Makes an empty set, and returns its id."""
        set_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        (self.folder / set_id).mkdir(parents=True)
        return set_id

    def find(self, set_id: str) -> ImageSet:
        """Returns a set.

        Raises:
            UserError: there is none of this id.
        """
        if not _SET_ID.fullmatch(set_id) or not (self.folder / set_id).is_dir():
            raise UserError(f"{set_id[:60]}: there is no such set of images.")
        return ImageSet(self.folder / set_id)


def _check_image(path: Path, copy: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tinv.ui.image_check", str(path), str(copy)]
    try:
        result = subprocess.run(command, capture_output=True, timeout=3 * MAX_SECONDS, stdin=subprocess.DEVNULL)
        checked: dict[str, Any] = json.loads(result.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {"error": "opening it takes too long or too much memory. Save it anew with an image editor."}
    return checked


def _read_caption(image: Path) -> str:
    """Returns the first line of the caption file of an image."""
    for path in map(image.with_suffix, CAPTION_SUFFIXES):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace")[: 4 * MAX_CAPTION].split("\n")
            return next((line.strip()[:MAX_CAPTION] for line in lines if line.strip()), "")
    return ""
