"""What a run ran in: its command, its code, its machine. Nothing of the environment, no secrets."""

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tinv.runs.layout import GIT_STATE, HYDRA_CONFIG
from tinv.runs.reader import RunReader

_PACKAGES = ("tinv", "torch", "lightning", "diffusers", "transformers", "safetensors", "hydra-core", "numpy", "pillow")
_SECRET = re.compile(r"(^|[._-])(\w*api_?key|\w*secret|\w*password|hf_token|\w*access_?token|auth\w*)$", re.IGNORECASE)


def command_line() -> str:
    """The command as it was typed, with the values of anything that is named like a secret masked."""
    return shlex.join(mask(argument) for argument in [Path(sys.argv[0]).name, *sys.argv[1:]])


def mask(argument: str) -> str:
    """`logger.wandb.api_key=abc` -> `logger.wandb.api_key=***`."""
    name, equals, _ = argument.partition("=")
    return f"{name}=***" if equals and _SECRET.search(name) else argument


def hydra_choices(run_dir: Path) -> dict[str, Any] | None:
    """What was chosen, from the files that Hydra leaves in a run's folder; None where it has not run."""
    run = RunReader(run_dir)
    config = run_dir / HYDRA_CONFIG
    if not config.is_file():
        return None
    choices = run.choices or {}
    return {
        "overrides": [mask(override) for override in run.overrides or []],
        "choices": {group: choice for group, choice in choices.items() if not group.startswith("hydra/")},
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
    }


def git_state() -> dict[str, Any] | None:
    """Commit of the code that runs, and whether files that git knows differ from it; None where git knows nothing."""
    source = Path(__file__).resolve()
    snapshot = source.parents[2] / GIT_STATE
    if snapshot.is_file():  # a copy that was made when the run was submitted
        told: dict[str, Any] = json.loads(snapshot.read_text(encoding="utf-8"))
        return told
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changes = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)} if commit else None


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """The platform, its cores, and what the training ran on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "platform": platform.platform(),
        "device": device.type,
        "device_name": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None when it cannot say anything. It only looks: `status` would also write the index."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
