"""The job that this process is a part of."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tinv.errors import UserError

CLIENT_TIMEOUT_S = 60.0
"""Slurm's programs wait for its controller for a while; not longer than this."""


@dataclass(frozen=True)
class Job:
    """A batch job."""

    id: str
    """As Slurm's programs take it: `123`, or `123_4` for a task of an array."""
    restarts: int = 0
    """How often it was put back into the queue."""

    def state(self) -> str:
        """`RUNNING`, `COMPLETING` and so on; empty if Slurm does not say."""
        try:
            return client("squeue", "-h", "-j", self.id, "-o", "%T").strip()
        except UserError:
            return ""

    def requeue(self) -> None:
        """Put it back into the queue: Slurm ends all of its processes, and starts it again when there is room.

        Raises:
            UserError: Slurm refuses, or does not answer.
        """
        client("scontrol", "requeue", self.id, survives=signal.SIGTERM)


def this_job(env: Mapping[str, str] = os.environ) -> Job | None:
    """The batch job that this process is a part of; None outside of one, also in a shell that Slurm has lent.

    Args:
        env: the environment.
    """
    if env.get("ENVIRONMENT") != "BATCH" or "SLURM_JOB_ID" not in env:
        return None
    array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return Job(f"{array}_{task}" if array and task else env["SLURM_JOB_ID"], int(env.get("SLURM_RESTART_COUNT", "0")))


def client(*command: str, survives: signal.Signals | None = None) -> str:
    """What one of Slurm's programs prints.

    Args:
        command: the program and its arguments.
        survives: a signal whose arrival means that the program has done its work: a requeue ends all processes of the
            job, and the one that asked for it is among them.

    Raises:
        UserError: it is not installed, fails, or does not answer.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on this machine; go to one that has Slurm's programs") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: Slurm does not answer") from None
    if done.returncode and done.returncode != -(survives or 0):
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{command[0]}: {said[-1].removeprefix(f'{command[0]}: ').removeprefix('error: ')}")
    return done.stdout
