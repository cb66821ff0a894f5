"""A copy of the code when a sweep is submitted: jobs that wait for hours run it, and not what was edited meanwhile."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import tinv
from tinv.config.secrets import REMEDY, find_reason
from tinv.config.target_allowlist import additional_targets
from tinv.config.validate import CONF_DIR
from tinv.errors import UserError
from tinv.runs.files import temporary_path, write_json, write_text
from tinv.runs.layout import GIT_STATE

SOURCE = "source"
SMALL_FILE = 1_000_000
"""Files of fewer bytes are compared by content, larger ones by size and time of change."""
_SCRIPT = "from tinv.training.main import main\n\nif __name__ == '__main__':\n    main()\n"


@dataclass(frozen=True)
class CodeSnapshot:
    """The folder from which a job runs."""

    folder: Path
    script: Path
    """The script that starts a run."""
    config_dir: Path | None
    """The user's config groups."""


def take_snapshot(sweep: Path, *, config_dir: str | None) -> CodeSnapshot:
    """Copies the code into a sweep's folder; the same code is copied only once.

    Args:
        sweep: the sweep's folder.
        config_dir: the value of `--config-dir`; the folder is copied too.

    Raises:
        UserError: the copy cannot be written, or would hold a secret.
    """
    parts = dict(_parts(config_dir))
    script = Path(sys.argv[0]).absolute()
    is_own = script.suffix == ".py" and Path(tinv.__file__).parent not in script.parents  # not python -m tinv.cli
    name, text = (script.name, script.read_text(encoding="utf-8")) if is_own else ("train.py", _SCRIPT)
    folder = sweep / SOURCE / _digest(parts, f"{name}:{text}")
    if not folder.is_dir():
        draft = temporary_path(folder)
        try:
            for part, path in parts.items():
                _copy(path, draft / part)
            write_text(draft / name, text)
            _write_versions(draft)
            draft.rename(folder)
        except OSError as error:
            raise UserError(f"cannot copy the source to {folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return CodeSnapshot(folder, folder / name, folder / "config" if config_dir else None)


def _parts(config_dir: str | None) -> Iterator[tuple[str, Path]]:
    """Yields what to copy, and its name in the snapshot."""
    package = Path(tinv.__file__).parent
    yield "tinv", package
    if package not in CONF_DIR.parents:
        yield CONF_DIR.name, CONF_DIR
    if config_dir:
        for file in sorted(Path(config_dir).rglob("*.y*ml")):
            if reason := find_reason(file.read_text(encoding="utf-8", errors="replace")):
                raise UserError(f"{file}: {reason}. The sweep would copy it. {REMEDY}")
        yield "config", Path(config_dir)
    for name in additional_targets():
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


def _digest(parts: Mapping[str, Path], script: str) -> str:
    """Returns 12 hexadecimal digits that identify the contents."""
    digest = blake2b(script.encode(), digest_size=6)
    for name, path in sorted(parts.items()):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                stat = file.stat()
                is_small = stat.st_size < SMALL_FILE
                digest.update(f"{name}/{file.relative_to(path)}:".encode())
                digest.update(file.read_bytes() if is_small else f"{stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _write_versions(folder: Path) -> None:
    """Writes git.json and changes.patch if the code is in a checkout: its commit, and the difference to it."""
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
