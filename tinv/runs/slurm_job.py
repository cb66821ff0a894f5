"""The Slurm batch job that this process belongs to, and Slurm's command-line programs."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tinv.errors import UserError

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
        try:
            return run_slurm_command("squeue", "-h", "-j", self.id, "-o", "%T").strip()
        except UserError:
            return ""

    def requeue(self) -> None:
        """Requeues the job: Slurm ends all of its processes, and starts it again when resources are free.

        Raises:
            UserError: Slurm refuses, or does not answer.
        """
        run_slurm_command("scontrol", "requeue", self.id, success_signal=signal.SIGTERM)


def current_job(env: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """Returns the batch job that this process belongs to; None outside of one, also in an interactive allocation.

    Args:
        env: the environment.
    """
    if env.get("ENVIRONMENT") != "BATCH" or "SLURM_JOB_ID" not in env:
        return None
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else env["SLURM_JOB_ID"]
    return SlurmJob(job_id, int(env.get("SLURM_RESTART_COUNT", "0")))


def run_slurm_command(*command: str, success_signal: signal.Signals | None = None) -> str:
    """Returns the output of one of Slurm's programs.

    Args:
        command: the program and its arguments.
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
