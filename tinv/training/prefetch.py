"""Downloads everything that a run opens from the Hub, for a machine without a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path

from omegaconf import DictConfig

from tinv.config.validate import ConfigError
from tinv.data.locate import locate_folder
from tinv.errors import UserError
from tinv.hub.snapshot import Repo, Snapshot, record_snapshots
from tinv.models.loading import fetch


@dataclass(frozen=True)
class CachedRepo:
    """The files of a repository at one commit that are in the cache."""

    repo: Repo
    folder: Path
    files: dict[str, int]
    """Bytes by name."""
    downloaded: set[str]
    """Names of those that were not in the cache before."""

    def __str__(self) -> str:
        size, new = sum(self.files.values()), sum(self.files[name] for name in self.downloaded)
        status = f"{new / 1e6:.1f} MB downloaded" if self.downloaded else "already in the cache"
        return f"{self.repo.kind} {self.repo}: {len(self.files)} files, {size / 1e6:.1f} MB, {status}: {self.folder}"


def prefetch(cfg: DictConfig) -> list[CachedRepo]:
    """Downloads the files of the model and the training images that the run opens, and no others.

    Args:
        cfg: composed and checked settings.

    Returns:
        The repositories that the run uses; none if everything is on this machine anyway.

    Raises:
        ConfigError: naming everything that cannot be downloaded.
    """
    model = {key: cfg.model[key] for key in signature(fetch).parameters if key in cfg.model}
    downloads: list[Callable[[], object]] = [partial(fetch, **model)]
    for data in (cfg.data, *(node.data for node in cfg.extra_concepts.values())):
        downloads.append(partial(locate_folder, data.folder, recursive=data.recursive))
    problems = []
    with record_snapshots() as snapshots:
        for download in downloads:
            try:
                download()
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return _merge(snapshots)


def _merge(snapshots: list[tuple[Repo, Snapshot]]) -> list[CachedRepo]:
    """Returns one entry for each folder."""
    by_folder: dict[Path, CachedRepo] = {}
    for repo, snapshot in snapshots:
        entry = by_folder.setdefault(snapshot.folder, CachedRepo(repo, snapshot.folder, {}, set()))
        entry.files.update(snapshot.files)
        entry.downloaded.update(snapshot.downloaded)
    return list(by_folder.values())
