"""Everything of the Hub that a run will open, fetched for a machine that has no network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tinv.config.validate import ConfigError
from tinv.data.locate import locate_folder
from tinv.errors import UserError
from tinv.hub.snapshot import Repo, Snapshot, record_snapshots
from tinv.models.loading import fetch


@dataclass(frozen=True)
class Fetched:
    """What is in the cache now, of one repository at one commit."""

    repo: Repo
    folder: Path
    files: dict[str, int]
    """Name -> bytes."""
    downloaded: set[str]
    """Those that were not here before."""

    def __str__(self) -> str:
        size, new = sum(self.files.values()), sum(self.files[name] for name in self.downloaded)
        what = f"{new / 1e6:.1f} MB fetched" if self.downloaded else "nothing to fetch"
        return f"{self.repo.kind} {self.repo}: {len(self.files)} files, {size / 1e6:.1f} MB, {what}: {self.folder}"


def prefetch(cfg: DictConfig) -> list[Fetched]:
    """Put the model and the pictures of a run into the Hub's cache: the files that the run opens, and no others.

    Args:
        cfg: composed and checked, as for `tinv.training.run.train`.

    Returns:
        The repositories that the run uses; none if all of it is on this machine anyway.

    Raises:
        ConfigError: naming everything that cannot be had.
    """
    problems: list[str] = []

    def attempt(make: Callable[[], Any]) -> None:
        try:
            make()
        except UserError as error:
            problems.append(str(error))

    taken = {key: cfg.model[key] for key in signature(fetch).parameters if key in cfg.model}
    with record_snapshots() as seen:
        attempt(lambda: fetch(**taken))
        for data in (cfg.data, *(node.data for node in cfg.extra_concepts.values())):
            attempt(partial(locate_folder, data.folder, recursive=data.recursive))
    if problems:
        raise ConfigError(problems)
    return _joined(seen)


def _joined(seen: list[tuple[Repo, Snapshot]]) -> list[Fetched]:
    """One entry a folder, however often it was looked into."""
    found: dict[Path, Fetched] = {}
    for repo, snapshot in seen:
        entry = found.setdefault(snapshot.folder, Fetched(repo, snapshot.folder, {}, set()))
        entry.files.update(snapshot.files)
        entry.downloaded.update(snapshot.downloaded)
    return list(found.values())
