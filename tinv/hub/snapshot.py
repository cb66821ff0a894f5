"""Files of a Hub repository at one commit, in the Hub's own cache: only the selected files, and all of them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, get_cached_repo_tree, get_session, snapshot_download
from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tinv.errors import UserError
from tinv.hub.errors import explain_error

TIMEOUT_S = 10.0
"""Seconds that the Hub may take to answer. Its client waits forever by default, also on a node without a network."""

Listing = Mapping[str, int]
"""Bytes of each file of a repository, by name."""


@dataclass(frozen=True)
class Repo:
    """A repository of the Hub."""

    id: str
    """`owner/name`."""
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    """A commit, a branch or a tag; None is the main branch. Only a commit never changes."""

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, so that a cached copy never becomes outdated."""
        return re.fullmatch("[0-9a-f]{40}", self.revision or "") is not None

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


@dataclass(frozen=True)
class Snapshot:
    """The selected files of a repository, on this machine."""

    folder: Path
    """Contains them under their names in the repository."""
    files: Listing
    downloaded: Sequence[str]
    """The files that were not in the cache before."""

    @property
    def commit(self) -> str:
        """The commit of the files."""
        return self.folder.name


_recorders: list[list[tuple[Repo, Snapshot]]] = []


@contextmanager
def record_snapshots() -> Iterator[list[tuple[Repo, Snapshot]]]:
    """Yields a list to which every snapshot that is requested in the block is appended."""
    requested: list[tuple[Repo, Snapshot]] = []
    _recorders.append(requested)
    try:
        yield requested
    finally:
        _recorders.remove(requested)


def get_snapshot(repo: Repo, choose: Callable[[Listing], Sequence[str]]) -> Snapshot:
    """Returns the files that `choose` selects, from the cache or from the Hub.

    For a cached commit, sends no request. For a branch, asks the Hub for the newest commit, and uses the cache if the
    Hub does not answer.

    Raises:
        LookupError: the files are not in the cache and cannot be downloaded; the message says why.
        UserError: raised by `choose` if a required file is missing.
    """
    try:
        validate_repo_id(repo.id)
    except HFValidationError as error:
        raise LookupError("not a valid Hub repository id") from error
    snapshot = _find(repo, choose)
    for recorder in _recorders:
        recorder.append((repo, snapshot))
    return snapshot


def _find(repo: Repo, choose: Callable[[Listing], Sequence[str]]) -> Snapshot:
    cached = _in_cache(repo)
    if cached and repo.is_pinned and (complete := _complete(*cached, choose)):
        return complete
    try:
        commit, listing = _request_listing(repo)
    except Exception as error:  # its type depends on the HTTP library that the client uses
        if cached and (complete := _complete(*cached, choose)):
            return complete
        raise LookupError(explain_error(error)) from error
    if cached and cached[0].name == commit and (complete := _complete(cached[0], listing, choose)):
        return complete
    return _download(repo, listing, choose(listing))


def network_remedy() -> str:
    """Returns what to do where files cannot be downloaded: `tinv prefetch`, unless that is what runs."""
    if _recorders:
        return "Check the name, the network and HF_HUB_OFFLINE, "
    return "Check the name and the network, run `tinv prefetch` with the same settings where there is a network, "


@contextmanager
def hub_timeout(seconds: float | None = None) -> Iterator[None]:
    """Limits the time of requests to the Hub in the block, by default to TIMEOUT_S."""
    session = get_session()
    before, session.timeout = session.timeout, seconds or TIMEOUT_S
    try:
        yield
    finally:
        session.timeout = before


def _request_listing(repo: Repo) -> tuple[str, Listing]:
    """Requests the commit of the revision, and its files."""
    request = HfApi().model_info if repo.kind == "model" else HfApi().dataset_info
    with hub_timeout():
        info = request(repo.id, revision=repo.revision, timeout=TIMEOUT_S, files_metadata=True)
    return info.sha or "", {file.rfilename: file.size or 0 for file in info.siblings or []}


def _download(repo: Repo, listing: Listing, names: Sequence[str]) -> Snapshot:
    cached = _in_cache(repo)
    missing = [name for name in names if cached is None or not (cached[0] / name).is_file()]
    try:
        with hub_timeout():
            folder = snapshot_download(
                repo.id, repo_type=repo.kind, revision=repo.revision, allow_patterns=[escape(name) for name in names]
            )
    except Exception as error:
        raise LookupError(explain_error(error)) from error
    return Snapshot(Path(folder), {name: listing[name] for name in names}, missing)


def _complete(folder: Path, listing: Listing, choose: Callable[[Listing], Sequence[str]]) -> Snapshot | None:
    """Returns the selected files if all of them are in the folder."""
    try:
        names = choose(listing)
    except UserError:
        return None  # the Hub may have more files than the cache
    is_complete = all((folder / name).is_file() for name in names)
    return Snapshot(folder, {name: listing[name] for name in names}, []) if is_complete else None


def _in_cache(repo: Repo) -> tuple[Path, Listing] | None:
    """Returns the folder of the revision in the cache, and the listing of the repository as far as it is cached."""
    storage = Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo.id, repo_type=repo.kind)
    revision = repo.revision or constants.DEFAULT_REVISION
    reference = storage / "refs" / revision
    commit = revision if repo.is_pinned else reference.read_text().strip() if reference.is_file() else ""
    folder = storage / "snapshots" / commit
    if not commit or not folder.is_dir():
        return None
    try:
        tree = get_cached_repo_tree(repo.id, repo_type=repo.kind, revision=commit)
        return folder, {file.path: file.size for file in tree}
    except CachedRepoTreeNotFoundError:  # another program filled the cache
        files = [path for path in folder.rglob("*") if path.is_file()]
        return folder, {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
