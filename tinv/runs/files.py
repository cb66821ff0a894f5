"""Writes files and folders atomically, and resolves paths inside installed packages."""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.errors import UserError

PACKAGE_SCHEME = "pkg://"
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or set paths.root_dir to another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or set paths.root_dir to another disk",
    errno.EACCES: "permission denied; set paths.root_dir to a writable folder",
    errno.EPERM: "permission denied; set paths.root_dir to a writable folder",
    errno.EROFS: "the file system is read-only; set paths.root_dir to a writable folder",
    errno.ENOTDIR: "a file is where a folder is needed; move it or set paths.root_dir to another folder",
}


@contextmanager
def write_atomically(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which gets the name `path` when the block has written it.

    Creates the folder. If the block fails, removes the temporary file and leaves an existing file unchanged.

    Raises:
        UserError: the disk is full, or the path is not writable.
    """
    path = Path(path)
    draft = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        os.umask(umask := os.umask(0))  # the only way to read it
        draft.chmod(0o666 & ~umask)
        draft.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def write_folder_atomically(path: Path | str, *, marker: str) -> Iterator[Path]:
    """Yields an empty folder beside `path`, which replaces `path` when the block has filled it.

    An existing folder is only replaced if it is empty or has the marker, a file that every folder of this kind has.

    Raises:
        UserError: the disk is full, the path is not writable, or something else is there.
    """
    path = Path(path)
    if path.exists() and not (path / marker).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"cannot write {path}: it holds other files. Give a new folder.")
    draft, old = (temporary_path(path, end) for end in ("part", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.replace(old)
        try:
            draft.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file atomically, with `***` instead of secrets."""
    with write_atomically(path) as draft:
        draft.write_text(hide(text), encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any) -> None:
    """Writes an indented JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def resolve_path(path: Path | str) -> Path:
    """Returns the path on this machine of a path in the config.

    `pkg://tinv/toybox/pipeline` is a path inside an installed package, so that a config stays valid on another machine.
    In any other path, `~` is expanded.

    Raises:
        UserError: the package is not installed.
    """
    text = str(path)
    if not text.startswith(PACKAGE_SCHEME):
        return Path(text).expanduser()
    package, _, inside = text.removeprefix(PACKAGE_SCHEME).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{text}: the package {package!r} is not installed. Install it, or give a path.")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def write_error(path: Path | str, error: OSError) -> UserError:
    """Returns the error for the user when a file or folder cannot be written."""
    return UserError(f"cannot write {path}: {_REASONS.get(error.errno or 0, error.strerror or error)}")


def temporary_path(path: Path, end: str = "part") -> Path:
    """Returns the path beside `path` that this process may write to. `runs/folder_lock.py` removes those of others."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{end}")
