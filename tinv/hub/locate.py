"""Where a model or a part of one is: on this machine, in a package, or on the Hugging Face Hub."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tinv.errors import UserError
from tinv.hub.pipeline_files import pipeline_settings
from tinv.hub.snapshot import Listing, Repo, snapshot
from tinv.runs.files import PACKAGE_SCHEME, locate

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+|[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def place_of(text: str, *, setting: str, revision: str | None = None) -> Path | Repo:
    """What a setting points to: a folder or a file on this machine, or a repository of the Hub.

    Args:
        text: a path, `pkg://package/folder`, or an id of the Hub, also as `id@revision`.
        setting: its name, for messages.
        revision: of an id that names none.

    Raises:
        UserError: there is no such path, and it can be no id.
    """
    path = locate(text)
    if path.exists():
        return path
    match = _HUB_ID.fullmatch(text)
    if match is None or text.startswith((PACKAGE_SCHEME, ".", "/", "~")):
        raise UserError(f"{setting}: there is no folder or file {text}; give one of diffusers' layout, or a Hub id")
    return Repo(match["id"], "model", match["revision"] or revision)


def settings_folder(place: Path | Repo, *, setting: str) -> Path:
    """The folder with a pipeline's configurations and tokenizers; the Hub is asked for no weights.

    Raises:
        UserError: this is no pipeline, or it cannot be had.
    """
    if isinstance(place, Repo):
        return _settings_of(place, setting)
    if not (place / "model_index.json").is_file():
        raise UserError(
            f"{setting}: {place} is no diffusers pipeline folder (it has no model_index.json); "
            f"give the folder that save_pretrained wrote, or the model's single .safetensors or .ckpt file"
        )
    return place


def fetch(repo: Repo, choose: Callable[[Listing], list[str]], *, setting: str) -> Path:
    """The folder of the Hub's cache with the chosen files of a repository, downloaded if need be.

    Raises:
        UserError: they are neither here nor to be had, or are not what they should be.
    """
    try:
        return snapshot(repo, choose).folder
    except UserError as error:
        raise UserError(f"{setting}: {repo} cannot be used, {error}") from error
    except LookupError as error:
        raise UserError(
            f"{setting}: {repo} is neither a folder here nor in the local Hub cache, and cannot be fetched "
            f"({error.args[0]}); check the name or the network, run `tinv prefetch` with the same settings where there "
            f"is a network, or pass a local diffusers folder, or model=toybox for the model that comes with tinv"
        ) from error


@lru_cache
def _settings_of(repo: Repo, setting: str) -> Path:
    return fetch(repo, pipeline_settings, setting=setting)
