"""A point as a process of its own, with all that it starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from tinv.errors import UserError
from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.status import Status

GRACE_S = 10.0
"""How long a process that is told to end may take over it before it is killed."""


def command(overrides: Sequence[str], run: Path, *, config_dir: str | None) -> list[str]:
    """What it takes to run a point alone, in a folder that is known."""
    script = sys.argv[0]
    door = [script] if script.endswith(".py") else ["-m", "tinv.training.main"]
    options = [f"--config-dir={config_dir}"] if config_dir else []
    return [sys.executable, *door, *options, *overrides, f"hydra.run.dir={quoted(run)}", "hydra.mode=RUN"]


def quoted(path: Path | str) -> str:
    """A path as the value of an override, whatever characters it has."""
    text = Path(path).absolute().as_posix().replace("'", "\\'")
    return f"'{text}'"


class ChildProcess:
    """Starts at once; in a session of its own, so that Ctrl-C reaches only the process that then ends all of them."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None):
        """Args:
        command: program and arguments.
        env: set on top of this process's own environment.
        log: takes what it says; None lets it say it here.
        """
        self._began = monotonic()
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log or os.devnull, "a", encoding="utf-8") as file:
            said = file if log else None
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return round(monotonic() - self._began, 2)

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Until it ends by itself."""
        return self._process.wait()

    def ask_to_end(self) -> None:
        """The polite signal, to it and to what it started."""
        self._signal(signal.SIGTERM)

    def end(self, grace_s: float = GRACE_S) -> None:
        """Leave nothing of it: what does not end within the time that is left is killed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, grace_s))
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if os.name == "nt":
            if self.poll() is None:
                tree = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
                subprocess.run(tree, capture_output=True, check=False)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def finalize_status(run: Path, child: ChildProcess, *, interrupted: bool = False) -> Status:
    """How a point stands whose process has ended; if that had no last word, it is said here."""
    status = RunReader(run).status or Status()
    if not status.has_ended:
        status.status, status.seconds = "interrupted" if interrupted else "failed", child.seconds
        status.reason = None if interrupted else _cause(child.poll())
        with suppress(UserError):  # a full disk, say; the sweep's table has it in any case
            write_status(run, status)
    return status


def _cause(code: int | None) -> str:
    names = {number.value: number.name for number in signal.Signals}
    if code is not None and -code in names:
        return f"its process was killed by {names[-code]}{' (out of memory?)' if names[-code] == 'SIGKILL' else ''}"
    return f"its process ended with exit code {code} and left no result"
