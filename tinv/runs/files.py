"""Files that appear whole or not at all, and places inside the installed package."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinv.errors import UserError

PACKAGE_SCHEME = "pkg://"
_CAUSES = {
    errno.ENOSPC: "the disk is full; free some space or set paths.root_dir to another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or set paths.root_dir to another disk",
    errno.EACCES: "permission denied; set paths.root_dir to a folder that you may write to",
    errno.EPERM: "permission denied; set paths.root_dir to a folder that you may write to",
    errno.EROFS: "the file system is read-only; set paths.root_dir to a folder that you may write to",
    errno.ENOTDIR: "a file stands where a folder is needed; move it away or set paths.root_dir to another folder",
}


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block has written it.

    The folder is made if need be. If the block fails, nothing is left and an older file stays as it was.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        draft.chmod(0o666 & ~_umask())
        draft.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_CAUSES.get(error.errno or 0, error.strerror or error)}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, *, mark: str) -> Iterator[Path]:
    """An empty folder beside `path` that takes its place once the block has filled it.

    Args:
        path: the folder; if there is one already, it is replaced, provided that it is of the same kind.
        mark: a file that folders of this kind have.

    Raises:
        UserError: the disk is full, the place cannot be written to, or something else is there.
    """
    path = Path(path)
    if path.exists() and not (path / mark).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"cannot write {path}: something else is there; name a new folder")
    draft, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        _swap(draft, path, old)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_CAUSES.get(error.errno or 0, error.strerror or error)}") from error
    finally:
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)


def _swap(draft: Path, path: Path, old: Path) -> None:
    """Put a folder in the place of another, which stays where it is if that fails."""
    if path.exists():
        path.replace(old)
    try:
        draft.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def locate(place: Path | str) -> Path:
    """The folder or file that a configured place means on this machine.

    `pkg://tinv/toybox/pipeline` is a place inside an installed package, wherever that is installed: what a run
    records stays true on another machine. Anything else is an ordinary path, with `~` expanded.

    Raises:
        UserError: the package is not installed.
    """
    text = str(place)
    if not text.startswith(PACKAGE_SCHEME):
        return Path(text).expanduser()
    package, _, inside = text.removeprefix(PACKAGE_SCHEME).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"no package {package!r} is installed, so {text!r} is nowhere; install it or give a path")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
