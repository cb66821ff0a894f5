"""A point that runs in its own process, with everything that this process starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, Any

from tinv.errors import UserError
from tinv.runs.parent_process import GRACE_S, parent_variable
from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.status import Status


def point_command(overrides: Sequence[str], run: Path, *, config_dir: str | None) -> list[str]:
    """Returns the command that runs a point alone, in a given folder."""
    script = [sys.argv[0]] if sys.argv[0].endswith(".py") else ["-m", "tinv.training.main"]
    options = [f"--config-dir={config_dir}"] if config_dir else []
    return [sys.executable, *script, *options, *overrides, f"hydra.run.dir={quote_path(run)}", "hydra.mode=RUN"]


def quote_path(path: Path | str) -> str:
    """Returns an absolute path as the value of an override, whatever characters it contains."""
    text = Path(path).absolute().as_posix().replace("'", "\\'")
    return f"'{text}'"


def user_config_dir(hydra: Any) -> str | None:
    """Returns the folder of `--config-dir`, or None."""
    return next((source.path for source in hydra.runtime.config_sources if source.provider == "command-line"), None)


class ChildProcess:
    """A process in a session of its own: Ctrl-C reaches only the parent, which then ends all children.

    A child that runs `train.py` ends when this process does, even if it is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        has_pipes: bool = False,
        cwd: Path | None = None,
    ):
        """Args:
        command: program and arguments.
        env: variables to set in addition to this process's environment.
        log: the file for stdout and stderr; None is this process's own.
        has_pipes: whether this process writes its `input` and reads its `output`; stdout is then not in the log.
        cwd: the working directory; None is this process's own.
        """
        self._started = monotonic()
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log or os.devnull, "a", encoding="utf-8") as file:
            output = file if log else None
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(env or {}), **parent_variable()},
                stdin=subprocess.PIPE if has_pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if has_pipes else output,
                stderr=output,
                start_new_session=True,
                text=True,
                encoding="utf-8",
            )

    @property
    def input(self) -> IO[str]:
        """Its standard input."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def output(self) -> IO[str]:
        """Its standard output."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return round(monotonic() - self._started, 2)

    def poll(self) -> int | None:
        """Returns the exit code, or None while the process runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Waits until the process ends, and returns its exit code."""
        return self._process.wait()

    def terminate(self) -> None:
        """Sends SIGTERM to the process, which may save its run, for which it needs the processes that it started."""
        if os.name == "nt":
            self._kill()  # Windows cannot ask
        else:
            self._process.terminate()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Waits for at most `grace_s` seconds, then kills what is left of the process and of what it started."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, grace_s))
        self._kill()
        self._process.wait()

    def _kill(self) -> None:
        if os.name == "nt":
            if self.poll() is None:
                command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
                subprocess.run(command, capture_output=True, check=False)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def finalize_status(run: Path, child: ChildProcess, *, interrupted: bool = False) -> Status:
    """Returns the final status of a point whose process has ended; writes one if the process did not."""
    status = RunReader(run).status or Status()
    if not status.has_ended:
        status.status, status.seconds = "interrupted" if interrupted else "failed", child.seconds
        status.reason = None if interrupted else _cause(child.poll())
        with suppress(UserError):  # for example, the disk is full; the sweep's table has the status in any case
            write_status(run, status)
    return status


def _cause(code: int | None) -> str:
    names = {number.value: number.name for number in signal.Signals}
    if code is not None and -code in names:
        return f"its process was killed by {names[-code]}{' (out of memory?)' if names[-code] == 'SIGKILL' else ''}"
    return f"its process ended with exit code {code} and left no result"
