"""A complete process, from the shell to its exit."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from bench.runner import ROOT, Command
from bench.step_by_step import RSS_FILE


@dataclass(frozen=True)
class ProcessUsage:
    """Time and memory of a process."""

    wall: float
    cpu: float
    """Seconds of the process and its children."""
    rss: int
    """Peak memory of the process, in MiB."""


def run_process(command: Command) -> ProcessUsage:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; with its output.
    """
    with TemporaryFile() as output, TemporaryDirectory() as folder:
        rss_file = Path(folder) / "rss"
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.step_by_step", "0", str(command.script), *command.words],
            cwd=ROOT,
            env={**os.environ, "TINV_TARGETS": "bench", RSS_FILE: str(rss_file)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command.name}: the run failed:\n{output.read().decode(errors='replace')[-3000:]}")
        times = time.perf_counter() - began
        return ProcessUsage(times, used.ru_utime + used.ru_stime, int(rss_file.read_text()))
