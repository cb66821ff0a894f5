"""Finds the folder of images: a local one, or a dataset of the Hugging Face Hub.

A dataset is written `hf://datasets/OWNER/NAME[@REVISION][/SUBFOLDER]`.
"""

import re
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from tinv.data.images import CAPTION_SUFFIXES, IMAGE_SUFFIXES
from tinv.errors import UserError
from tinv.hub.snapshot import Listing, Repo, Snapshot, get_snapshot, network_remedy
from tinv.runs.files import resolve_path

HUB_SCHEME = "hf://"
MAX_IMAGES = 1000
MAX_BYTES = 2 * 1024**3
"""A larger dataset was probably named by mistake."""

_DATASET_URL = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.*))?")


def locate_folder(path: Path | str, *, recursive: bool = False, setting: str = "data.folder") -> Path:
    """Returns the local folder that a setting names, downloading a dataset of the Hub if it is not in the cache.

    Raises:
        UserError: the dataset is not in the cache and cannot be downloaded, or has no images in that folder.
    """
    if not str(path).startswith(HUB_SCHEME):
        return resolve_path(path)
    repo, subfolder = parse_dataset_url(str(path), setting=setting)
    return fetch_images(repo, subfolder, recursive=recursive, setting=setting).folder / subfolder


def fetch_images(
    repo: Repo, subfolder: PurePosixPath, *, recursive: bool = False, setting: str = "data.folder"
) -> Snapshot:
    """Returns the images of a dataset's folder and their caption files, from the cache or from the Hub.

    Raises:
        UserError: as `locate_folder`.
    """
    url = f"{HUB_SCHEME}datasets/{repo}{f'/{subfolder}' if subfolder.parts else ''}"
    try:
        return get_snapshot(repo, partial(select_images, subfolder=subfolder, recursive=recursive))
    except UserError as error:
        raise UserError(f"{setting}={url}: {error}") from error
    except LookupError as error:
        raise UserError(
            f"{setting}={url}: not in the local Hub cache, and cannot be downloaded ({error.args[0]}). "
            f"{network_remedy()}or set {setting} to a local folder of images."
        ) from error


def parse_dataset_url(url: str, *, setting: str) -> tuple[Repo, PurePosixPath]:
    """Returns the dataset and the folder in it.

    Raises:
        UserError: the URL has another form.
    """
    match = _DATASET_URL.fullmatch(url)
    subfolder = PurePosixPath((match[3] or "") if match else "")
    if match is None or ".." in subfolder.parts or subfolder.is_absolute():
        raise UserError(
            f"{setting}={url}: not a dataset of the Hub. Write hf://datasets/OWNER/NAME[@REVISION][/SUBFOLDER]."
        )
    return Repo(match[1], "dataset", unquote(match[2]) if match[2] else None), subfolder


def select_images(listing: Listing, subfolder: PurePosixPath, *, recursive: bool = False) -> list[str]:
    """Returns the image files in one folder of a dataset, with the caption files beside them.

    Args:
        listing: the files of the dataset.
        subfolder: of the dataset; empty for its top level.
        recursive: include the folders below it.

    Raises:
        UserError: the folder has no image, or far too many.
    """

    def is_image(name: str) -> bool:
        return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES

    parents = {name: list(PurePosixPath(name).parents) for name in listing}
    names = [name for name in listing if subfolder in (parents[name] if recursive else parents[name][:1])]
    images = [name for name in names if is_image(name)]
    if not images:
        folders = sorted({str(PurePosixPath(name).parent) for name in listing if is_image(name)})
        raise UserError(
            f"no image files {f'in {subfolder}' if subfolder.parts else 'at the top level'}. "
            + (
                f"They are in {', '.join(folders[:5])}; name one of these folders."
                if folders
                else "Images inside tables such as .parquet are not read; save them as files in a folder."
            )
        )
    size = sum(listing[name] for name in images)
    if len(images) > MAX_IMAGES or size > MAX_BYTES:
        raise UserError(
            f"{len(images)} images of {size / 1e9:.1f} GB in total, but a concept needs 3 to 10. Name a folder "
            f"with at most {MAX_IMAGES} images and {MAX_BYTES / 1e9:.0f} GB, or use a local folder."
        )
    return images + [name for name in names if PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES]
