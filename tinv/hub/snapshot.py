"""A repository of the Hub at one commit, in the Hub's own cache: only the files that are wanted, and all of them."""

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
"""How long the Hub may be silent. Its client waits for ever, which on a node without a network is too long."""

_COMMIT = re.compile(r"[0-9a-f]{40}")

Listing = Mapping[str, int]
"""File name in the repository -> bytes."""


@dataclass(frozen=True)
class Repo:
    """A repository of the Hub."""

    id: str
    """`owner/name`."""
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    """A commit, a branch or a tag; None is the main branch. Only a commit stays what it is."""

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, so that a copy of it never goes out of date."""
        return _COMMIT.fullmatch(self.revision or "") is not None

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


@dataclass(frozen=True)
class Snapshot:
    """The wanted files of a repository, on this machine."""

    folder: Path
    """Holds them under their names in the repository."""
    files: Listing
    downloaded: Sequence[str]
    """Those that were not here before."""

    @property
    def commit(self) -> str:
        """The commit that the files are of."""
        return self.folder.name


_watchers: list[list[tuple[Repo, Snapshot]]] = []


@contextmanager
def record_snapshots() -> Iterator[list[tuple[Repo, Snapshot]]]:
    """Every snapshot that the block asks for, in its order."""
    seen: list[tuple[Repo, Snapshot]] = []
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)


def get_snapshot(repo: Repo, choose: Callable[[Listing], Sequence[str]]) -> Snapshot:
    """The files that `choose` picks, from the cache or from the Hub.

    A commit that is in the cache is used without asking the Hub. A branch is asked for, and taken from the cache where
    the Hub does not answer.

    Args:
        repo: where from.
        choose: picks names from the repository's listing, or raises a UserError if what it needs is not there.

    Raises:
        LookupError: the files are not here and the Hub does not give them; the message says why.
        UserError: of `choose`.
    """
    try:
        validate_repo_id(repo.id)
    except HFValidationError as error:
        raise LookupError("its name is none that the Hub gives") from error
    found = _find(repo, choose)
    for watcher in _watchers:
        watcher.append((repo, found))
    return found


def _find(repo: Repo, choose: Callable[[Listing], Sequence[str]]) -> Snapshot:
    cached = _in_cache(repo)
    if cached and repo.is_pinned and (found := _complete(*cached, choose)):
        return found
    try:
        commit, listing = _ask(repo)
    except Exception as error:  # of which kind depends on the HTTP library that the client happens to use
        if cached and (found := _complete(*cached, choose)):
            return found
        raise LookupError(explain_error(error)) from error
    if cached and cached[0].name == commit and (found := _complete(cached[0], listing, choose)):
        return found
    return _download(repo, listing, choose(listing))


@contextmanager
def hub_timeout(seconds: float | None = None) -> Iterator[None]:
    """Give up on a silent Hub after some seconds, within the block."""
    session = get_session()
    before, session.timeout = session.timeout, seconds or TIMEOUT_S
    try:
        yield
    finally:
        session.timeout = before


def _ask(repo: Repo) -> tuple[str, Listing]:
    """The commit that the revision is now, and its files; one short question."""
    api = HfApi()
    ask = api.model_info if repo.kind == "model" else api.dataset_info
    with hub_timeout():
        info = ask(repo.id, revision=repo.revision, timeout=TIMEOUT_S, files_metadata=True)
    return info.sha or "", {file.rfilename: file.size or 0 for file in info.siblings or []}


def _download(repo: Repo, listing: Listing, names: Sequence[str]) -> Snapshot:
    cached = _in_cache(repo)
    missing = [name for name in names if cached is None or not (cached[0] / name).is_file()]
    try:
        with hub_timeout():
            place = snapshot_download(
                repo.id, repo_type=repo.kind, revision=repo.revision, allow_patterns=[escape(name) for name in names]
            )
    except Exception as error:
        raise LookupError(explain_error(error)) from error
    return Snapshot(Path(place), {name: listing[name] for name in names}, missing)


def _complete(folder: Path, listing: Listing, choose: Callable[[Listing], Sequence[str]]) -> Snapshot | None:
    """The chosen files, if every one of them is in the folder."""
    try:
        names = choose(listing)
    except UserError:
        return None  # the Hub may have more than what is here
    if not all((folder / name).is_file() for name in names):
        return None
    return Snapshot(folder, {name: listing[name] for name in names}, [])


def _in_cache(repo: Repo) -> tuple[Path, Listing] | None:
    """The folder of the revision in the cache, and what the repository holds as far as the cache knows."""
    storage, revision = _storage(repo), repo.revision or constants.DEFAULT_REVISION
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


def _storage(repo: Repo) -> Path:
    return Path(constants.HF_HUB_CACHE).expanduser() / repo_folder_name(repo_id=repo.id, repo_type=repo.kind)
