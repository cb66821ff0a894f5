"""A folder of pictures, here or in a dataset of the Hub: `hf://datasets/OWNER/NAME[@REVISION][/SUBFOLDER]`."""

import re
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from tinv.data.images import CAPTION_SUFFIXES, IMAGE_SUFFIXES
from tinv.errors import UserError
from tinv.hub.snapshot import Listing, Repo, Snapshot, snapshot
from tinv.runs.files import locate

HUB_SCHEME = "hf://"
MAX_IMAGES = 1000
MAX_BYTES = 2 * 1024**3
"""More than that is a dataset for another purpose, named by mistake."""

_FORM = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.*))?")


def locate_folder(place: Path | str, *, recursive: bool = False, setting: str = "data.folder") -> Path:
    """The folder on this machine that a setting means: of a dataset of the Hub, or as `tinv.runs.files.locate` says.

    Raises:
        UserError: the dataset is neither in the cache nor to be had, or it is no folder of pictures.
    """
    if not str(place).startswith(HUB_SCHEME):
        return locate(place)
    repo, inside = parse(str(place), setting=setting)
    return fetch_images(repo, inside, recursive=recursive, setting=setting).folder / inside


def fetch_images(
    repo: Repo, inside: PurePosixPath, *, recursive: bool = False, setting: str = "data.folder"
) -> Snapshot:
    """The pictures in a dataset's folder, and the captions beside them, from the cache or from the Hub.

    Raises:
        UserError: as `locate_folder`.
    """
    place = f"{HUB_SCHEME}datasets/{repo}{f'/{inside}' if inside.parts else ''}"
    try:
        return snapshot(repo, partial(select_images, inside=inside, recursive=recursive))
    except UserError as error:
        raise UserError(f"{setting}: {place} cannot be used, {error}") from error
    except LookupError as error:
        raise UserError(
            f"{setting}: {place} is not in the local Hub cache, and cannot be fetched ({error.args[0]}); check the "
            f"name or the network, run `tinv prefetch` with the same settings where there is a network, or pass a "
            f"local folder of pictures, {setting}=FOLDER"
        ) from error


def parse(place: str, *, setting: str) -> tuple[Repo, PurePosixPath]:
    """The dataset and the folder in it.

    Raises:
        UserError: the text is of another form.
    """
    match = _FORM.fullmatch(place)
    inside = PurePosixPath((match[3] or "") if match else "")
    if match is None or ".." in inside.parts or inside.is_absolute():
        raise UserError(
            f"{setting}: a dataset of the Hub is written hf://datasets/OWNER/NAME, with @REVISION and /SUBFOLDER if "
            f"need be, got {place}"
        )
    return Repo(match[1], "dataset", unquote(match[2]) if match[2] else None), inside


def select_images(listing: Listing, inside: PurePosixPath, *, recursive: bool = False) -> list[str]:
    """The picture files of one folder of a dataset, or of those in it, too, with the text files beside them.

    Raises:
        UserError: there is none, or there are far too many.
    """
    parents = {name: list(PurePosixPath(name).parents) for name in listing}
    here = [name for name in listing if inside in (parents[name] if recursive else parents[name][:1])]
    pictures = [name for name in here if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not pictures:
        elsewhere = sorted(
            {str(PurePosixPath(n).parent) for n in listing if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES}
        )
        what = (
            f"they are in {', '.join(elsewhere[:5])}; name one of these"
            if elsewhere
            else ("pictures inside of tables such as .parquet are not read; save them as files into a folder")
        )
        raise UserError(f"it holds no picture files {f'in {inside}' if inside.parts else 'at its top'}: {what}")
    size = sum(listing[name] for name in pictures)
    if len(pictures) > MAX_IMAGES or size > MAX_BYTES:
        raise UserError(
            f"it holds {len(pictures)} pictures of {size / 1e9:.1f} GB in all, a concept wants 3 to 10; name a folder "
            f"with less than {MAX_IMAGES} and {MAX_BYTES / 1e9:.0f} GB, or pass a folder of your own"
        )
    return pictures + [name for name in here if PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES]
