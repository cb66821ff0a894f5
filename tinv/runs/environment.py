"""What a run ran with: its command, code, packages and machine. No environment variables, no secrets."""

import hashlib
import json
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tinv.runs.layout import GIT_STATE, HYDRA_CONFIG
from tinv.runs.reader import RunReader

_PACKAGES = ("tinv", "torch", "lightning", "diffusers", "transformers", "safetensors", "hydra-core", "numpy", "pillow")
_SECRET = re.compile(r"(^|[._-])(\w*api_?key|\w*secret|\w*password|hf_token|\w*access_?token|auth\w*)$", re.IGNORECASE)


def get_command() -> str:
    """Returns the command line, with the values of settings that are named like secrets masked."""
    return shlex.join(mask_secret(argument) for argument in [Path(sys.argv[0]).name, *sys.argv[1:]])


def mask_secret(argument: str) -> str:
    """Masks the value of an override that is named like a secret: `logger.wandb.api_key=***`."""
    name, equals, _ = argument.partition("=")
    return f"{name}=***" if equals and _SECRET.search(name) else argument


def read_hydra_choices(run_dir: Path) -> dict[str, Any] | None:
    """Returns the overrides, the chosen config groups and the config's SHA-256; None if Hydra wrote no config."""
    run, config = RunReader(run_dir), run_dir / HYDRA_CONFIG
    if not config.is_file():
        return None
    return {
        "overrides": [mask_secret(override) for override in run.overrides or []],
        "choices": {group: choice for group, choice in run.choices.items() if not group.startswith("hydra/")},
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
    }


def get_git_state() -> dict[str, Any] | None:
    """Returns the commit of the running code, and whether tracked files differ from it; None outside of a checkout."""
    source = Path(__file__).resolve()
    snapshot = source.parents[2] / GIT_STATE
    if snapshot.is_file():  # the code was copied when the run was submitted
        return dict(json.loads(snapshot.read_text(encoding="utf-8")))
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
