"""The Slurm batch job that this process belongs to, its signals, and Slurm's command-line programs."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from tinv.errors import UserError

TERMINATE = signal.SIGTERM
"""Preemption, `scancel`, or the time limit has passed."""
TIME_LIMIT_NEAR = getattr(signal, "SIGUSR2", signal.SIGTERM)
_received: set[int] = set()
COMMAND_TIMEOUT_S = 60.0
"""Slurm's programs wait for its controller; no longer than this."""


@dataclass(frozen=True)
class SlurmJob:
    """A batch job."""

    id: str
    """As Slurm's programs take it: `123`, or `123_4` for a task of an array."""
    restarts: int = 0
    """How often the job was requeued."""

    def state(self) -> str:
        """Returns `RUNNING`, `COMPLETING` and so on; empty if Slurm does not answer."""
        with suppress(UserError):
            return run_slurm_command("squeue", "-h", "-j", self.id, "-o", "%T").strip()
        return ""

    def requeue(self) -> None:
        """Requeues the job: Slurm ends all of its processes, and starts it again when resources are free.

        Raises:
            UserError: Slurm refuses, or does not answer.
        """
        run_slurm_command("scontrol", "requeue", self.id, success_signal=signal.SIGTERM)


def current_job(env: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """Returns the batch job that this process belongs to; None outside of one, also in an interactive allocation."""
    if env.get("ENVIRONMENT") != "BATCH" or "SLURM_JOB_ID" not in env:
        return None
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else env["SLURM_JOB_ID"]
    return SlurmJob(job_id, int(env.get("SLURM_RESTART_COUNT", "0")))


def run_slurm_command(*command: str, success_signal: signal.Signals | None = None) -> str:
    """Returns the output of one of Slurm's programs.

    Args:
        success_signal: a signal that ends the program after it has done its work: a requeue ends all processes of the
            job, including the program that requested it.

    Raises:
        UserError: the program is not installed, fails, or does not answer.
    """
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed here. Use a machine that has Slurm's programs.") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: Slurm does not answer") from None
    if process.returncode and process.returncode != -(success_signal or 0):
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise UserError(f"{command[0]}: {lines[-1].removeprefix(f'{command[0]}: ').removeprefix('error: ')}")
    return process.stdout


def install_handlers() -> None:
    """Installs the handlers of both signals, if this is the main thread.

    A handler only records the signal; `tinv.training.callbacks.SlurmRequeue` acts on it where the run can be resumed.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (TERMINATE, TIME_LIMIT_NEAR):
            signal.signal(number, _record)


def received_signal() -> signal.Signals | None:
    """Returns the signal that was received; SIGTERM if both were."""
    return next((number for number in (TERMINATE, TIME_LIMIT_NEAR) if number in _received), None)


def _record(number: int, frame: FrameType | None) -> None:
    _received.add(number)
    message = f"Slurm sent {signal.Signals(number).name}; the run is saved after this step\n"
    os.write(2, message.encode())  # print() is not safe in a signal handler
