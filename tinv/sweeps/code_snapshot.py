"""The code as it is when a sweep is submitted: jobs that wait for hours run this, whatever is edited meanwhile."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import tinv
from tinv.config.target_allowlist import TRUST_VARIABLE
from tinv.config.validate import CONF_DIR
from tinv.errors import UserError
from tinv.runs.files import write_json, write_text
from tinv.runs.layout import GIT_STATE

SOURCE = "source"
_DOOR = "from tinv.training.main import main\n\nif __name__ == '__main__':\n    main()\n"


@dataclass(frozen=True)
class CodeSnapshot:
    """A folder that a job runs from."""

    folder: Path
    door: Path
    """The script to start."""
    config_dir: Path | None
    """The user's groups."""


def take(sweep: Path, *, config_dir: str | None) -> CodeSnapshot:
    """Copy what a run is made of into a sweep's folder; the same code is copied once.

    Args:
        sweep: the folder.
        config_dir: of `--config-dir`; copied, too.

    Raises:
        UserError: it cannot be written.
    """
    parts = dict(_parts(config_dir))
    script = Path(sys.argv[0]).absolute()
    is_own = script.suffix == ".py" and Path(tinv.__file__).parent not in script.parents  # not python -m tinv.cli
    door, text = (script.name, script.read_text(encoding="utf-8")) if is_own else ("train.py", _DOOR)
    folder = sweep / SOURCE / _digest(parts, f"{door}:{text}")
    if not folder.is_dir():
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        try:
            for name, path in parts.items():
                _copy(path, draft / name)
            write_text(draft / door, text)
            _note_versions(draft)
            draft.rename(folder)
        except OSError as error:
            raise UserError(f"cannot copy the source to {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return CodeSnapshot(folder, folder / door, folder / "config" if config_dir else None)


def _parts(config_dir: str | None) -> Iterator[tuple[str, Path]]:
    """What to copy, by the name that it gets."""
    package = Path(tinv.__file__).parent
    yield "tinv", package
    if package not in CONF_DIR.parents:
        yield CONF_DIR.name, CONF_DIR
    if config_dir:
        yield "config", Path(config_dir)
    for name in filter(None, os.environ.get(TRUST_VARIABLE, "").replace(" ", "").split(",")):
        spec = find_spec(name.partition(".")[0])
        if spec and spec.origin and "site-packages" not in spec.origin:
            origin = Path(spec.origin)
            path = origin.parent if origin.name == "__init__.py" else origin
            yield path.name, path


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__", ".*"), dirs_exist_ok=True)
    else:
        shutil.copy2(path, to)


def _digest(parts: Mapping[str, Path], door: str) -> str:
    """12 hex digits for the contents; of large files, which are weights, the size and the time have to do."""
    found = blake2b(door.encode(), digest_size=6)
    for name, path in sorted(parts.items()):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                about = file.stat()
                is_small = about.st_size < 1_000_000
                found.update(f"{name}/{file.relative_to(path)}:".encode())
                found.update(file.read_bytes() if is_small else f"{about.st_size} {about.st_mtime_ns}".encode())
    return found.hexdigest()


def _note_versions(folder: Path) -> None:
    """`git.json` and `changes.patch`, where the code is in a checkout: its commit, and what differs from it."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("ls-files", "--error-unmatch", "__init__.py"):
        changes = _git("diff", "HEAD") or ""
        write_json(folder / GIT_STATE, {"commit": commit.strip(), "dirty": bool(changes)})
        write_text(folder / "changes.patch", changes)


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(Path(tinv.__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
