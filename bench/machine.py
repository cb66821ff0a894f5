"""What a figure was measured on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

LIBRARIES = ("accelerate", "diffusers", "lightning", "transformers")


def machine() -> dict[str, str | int]:
    """Enough to judge a figure by, nothing that names a person or a place."""
    return {
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def _commit() -> str:
    place = Path(__file__).parent
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=place, capture_output=True, text=True)
    return told.stdout.strip()


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
