"""What is done many times over for one command, done once.

Hydra copies all of its schemas whenever it looks up a group, reads every file of the groups anew for each composition,
and composes once only to learn whether a command is a sweep. Python looks for garbage among all that the libraries
make while they are imported, time and again, and there is none. torchmetrics imports matplotlib, where it is installed,
for plots that no run draws. What comes out is the same, in half of the time.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode

_read, _merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
_files: dict[tuple[str, ...], Any] = {}
_trees: dict[str, Any] = {}


def remember() -> None:
    """Read each file once from here on, and merge each list of defaults once, whatever values are set on the result.

    Copies of a repository share its sources, which are only read, and hold every schema of Hydra's.
    """
    _files.clear()
    _trees.clear()
    ConfigSource.__deepcopy__ = lambda source, memo: source  # type: ignore[attr-defined]
    ConfigRepository.load_config = _load  # type: ignore[method-assign, assignment]
    ConfigLoaderImpl._compose_config_from_defaults_list = _compose  # type: ignore[method-assign, assignment]


def settle_mode(mode: RunMode | None) -> None:
    """Tell Hydra what `hydra.mode` is, where it would compose all settings to find out."""
    Hydra.get_mode = lambda *_, **__: mode  # type: ignore[method-assign]


@contextmanager
def imports() -> Iterator[None]:
    """A block that imports what a run takes; nothing that is there at its end is ever taken for garbage.

    In the next runs of a sweep it does nothing: what a run has left behind is garbage like any other.
    """
    if "tinv.training.run" in sys.modules:
        yield
        return
    gc.disable()
    try:
        with _no_plots():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _no_plots() -> Iterator[None]:
    """A block in which Lightning's libraries, when they look for it, find no matplotlib."""
    from lightning_utilities.core.imports import RequirementCache

    look = RequirementCache._check_available

    def look_for_others(wanted: Any) -> None:
        if wanted.requirement == "matplotlib":
            wanted.available, wanted.message = False, "no run draws plots"
        else:
            look(wanted)

    RequirementCache._check_available = look_for_others  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        RequirementCache._check_available = look  # type: ignore[method-assign]


def _load(repository: Any, config_path: str) -> Any:
    key = (*_places(repository), config_path)
    if key not in _files:
        _files[key] = _read(repository, config_path)
    return deepcopy(_files[key])


def _compose(loader: Any, defaults: Any, repo: Any) -> Any:
    key = f"{_places(repo)} {defaults}"
    if key not in _trees:
        _trees[key] = _merge(loader, defaults, repo)
    return deepcopy(_trees[key])


def _places(repository: Any) -> tuple[str, ...]:
    return tuple(source.full_path() for source in repository.get_sources())
