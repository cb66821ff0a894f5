"""A whole process, from the shell to its exit."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from bench.paced import TOLD
from bench.runner import ROOT, Command


@dataclass(frozen=True)
class Whole:
    """What a run took."""

    wall: float
    cpu: float
    """Of the process and all that it started, in seconds."""
    rss: int
    """MiB, of the process."""


def whole(command: Command) -> Whole:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; with what it said.
    """
    with TemporaryFile() as said, TemporaryDirectory() as place:
        told = Path(place) / "rss"
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.paced", "0", str(command.script), *command.words],
            cwd=ROOT,
            env={**os.environ, "TINV_TARGETS": "bench", TOLD: str(told)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command.name}: the run failed:\n{said.read().decode(errors='replace')[-3000:]}")
        taken = time.perf_counter() - began
        return Whole(taken, used.ru_utime + used.ru_stime, int(told.read_text()))
