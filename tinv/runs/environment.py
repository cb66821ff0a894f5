"""What a run ran with: its command, code, packages and machine. No environment variables, no secrets."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide_override
from tinv.runs.layout import GIT_STATE, HYDRA_CONFIG
from tinv.runs.reader import FolderReader, RunReader

_PACKAGES = ("tinv", "torch", "lightning", "diffusers", "transformers", "safetensors", "hydra-core", "numpy", "pillow")


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the one that writes its files."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def get_command() -> str:
    """Returns the command line, with secrets masked."""
    return shlex.join(hide_override(argument) for argument in [Path(sys.argv[0]).name, *sys.argv[1:]])


def read_hydra_choices(run_dir: Path) -> dict[str, Any] | None:
    """Returns the overrides, the chosen config groups and the config's SHA-256; None if Hydra wrote no config."""
    run, config = RunReader(run_dir), run_dir / HYDRA_CONFIG
    if not config.is_file():
        return None
    return {
        "overrides": [hide_override(override) for override in run.overrides or []],
        "choices": {group: choice for group, choice in run.choices.items() if not group.startswith("hydra/")},
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
    }


def get_git_state() -> dict[str, Any] | None:
    """Returns the commit of the running code, and whether tracked files differ from it; None outside of a checkout."""
    source = Path(__file__).resolve()
    snapshot = source.parents[2] / GIT_STATE
    if snapshot.is_file():  # the code was copied when the run was submitted
        return FolderReader(snapshot.parent).read_object(GIT_STATE)
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changes = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)} if commit else None


def get_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns git's output, or None if it fails. Without optional locks, so that `status` does not write the index."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
