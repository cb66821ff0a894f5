"""Where a tower is: a folder, a package's folder, or a repository of the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from tinv.errors import UserError
from tinv.hub.snapshot import Listing, Repo, snapshot
from tinv.runs.files import PACKAGE_SCHEME, locate

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OTHERS = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Found:
    """A tower's files on this machine."""

    folder: Path
    name: str
    """As it was asked for, without a revision."""
    revision: str | None = None
    """The commit, of a repository of the Hub."""


def find(place: str) -> Found:
    """The files of a tower, fetched if need be.

    Args:
        place: a folder, `pkg://package/folder`, or an id of the Hub, also as `id@revision`.

    Raises:
        UserError: there is none, or it cannot be had.
    """
    path, match = locate(place), _HUB_ID.fullmatch(place)
    if path.is_dir():
        return Found(path, place)
    if match is None or place.startswith((PACKAGE_SCHEME, ".", "/", "~")):
        raise UserError(f"there is no folder {place} of a tower; give one as transformers saves it, or a Hub id")
    repo = Repo(match["id"], "model", match["revision"])
    try:
        fetched = snapshot(repo, _chosen)
    except UserError as error:
        raise UserError(f"{repo} cannot be used as a tower, {error}") from error
    except LookupError as error:
        raise UserError(
            f"the tower {repo} is not in the local Hub cache, and cannot be fetched ({error.args[0]}); fetch it where "
            f"there is a network, or give a folder, or --towers toybox for those that come with tinv"
        ) from error
    return Found(fetched.folder, repo.id, fetched.commit)


def _chosen(listing: Listing) -> list[str]:
    weights = next((name for name in _WEIGHTS if name in listing), None)
    if weights is None or "config.json" not in listing:
        raise UserError(f"it holds no {' or '.join(_WEIGHTS)} with a config.json")
    return [weights, *(name for name in _OTHERS if name in listing)]
