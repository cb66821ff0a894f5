"""What of ours Slurm has in its queue, and putting more there."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinv.errors import UserError
from tinv.runs.slurm_job import run_slurm_command

ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
)
"""What becomes of a job that does not come back. Slurm shows those it has put back into the queue as pending."""
HOPELESS = (
    *("BadConstraints", "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit"),
    *("launch failed requeued held",),
)
"""Reasons for which a job would wait for ever."""
_FIELDS = ("%F", "%K", "%T", "%r", "%k")


@dataclass(frozen=True)
class QueueEntry:
    """A task of a job array."""

    job: str
    """`123_4`."""
    state: str
    """`PENDING`, `RUNNING`, `COMPLETING`, or one of `ENDED`."""
    reason: str
    """Why it is where it is."""
    comment: str
    """What it was given along."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended and does not come back."""
        return self.state in ENDED

    @property
    def is_hopeless(self) -> bool:
        """Whether it would wait for ever."""
        return self.state == "PENDING" and self.reason.strip("()") in HOPELESS


def entries() -> dict[str, QueueEntry]:
    """The user's array tasks by job, with those that ended in the last minutes: Slurm forgets them after a while.

    Raises:
        UserError: Slurm does not answer.
    """
    said = run_slurm_command("squeue", "--noheader", "--array", "--me", "--states=all", f"--format={'|'.join(_FIELDS)}")
    found = {}
    for line in said.splitlines():
        array, task, state, reason, comment = line.split("|", len(_FIELDS) - 1)
        if task.isdigit():
            job = f"{array}_{task}"
            found[job] = QueueEntry(job, state, reason, comment)
    return found


def submit(script: Path, options: Mapping[str, str | None]) -> str:
    """Put a script into the queue; returns the number of the job.

    Args:
        script: for bash.
        options: of sbatch, without dashes; None where an option takes no value.

    Raises:
        UserError: Slurm refuses.
    """
    told = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
    try:
        return run_slurm_command("sbatch", "--parsable", *told, str(script)).strip().partition(";")[0]
    except UserError as error:
        remedy = next((line for word, line in _LINES.items() if word in str(error).lower()), None)
        raise UserError(f"{error}; change {remedy}" if remedy else str(error)) from None


_LINES = {
    "time limit": "hydra.launcher.timeout_min",
    "memory": "hydra.launcher.mem_gb",
    "account": "hydra.launcher.account",
    "partition": "hydra.launcher.partition",
    "gres": "hydra.launcher.gpus_per_node",
    "generic resource": "hydra.launcher.gpus_per_node",
    "node count": "hydra.launcher.nodes",
    "processors": "hydra.launcher.cpus_per_task or tasks_per_node",
    "cpu count": "hydra.launcher.cpus_per_task or tasks_per_node",
    "node configuration": "hydra.launcher.cpus_per_task, mem_gb, tasks_per_node or gpus_per_node",
    "array": "how many points there are, or hydra.launcher.array_parallelism",
}
"""What Slurm says, and where it is set."""


def cancel(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue, or end them."""
    run_slurm_command("scancel", *jobs)


class QueueMonitor:
    """Looks at the queue again and again, and bears with a Slurm that does not answer for a while."""

    def __init__(self, patience_s: float = 1800.0):
        """Args:
        patience_s: for how long it may be silent.
        """
        self.patience_s = patience_s
        self._heard_at = time.monotonic()

    def look(self) -> dict[str, QueueEntry] | None:
        """The entries, or None if Slurm does not answer.

        Raises:
            UserError: it has not answered for too long.
        """
        try:
            found = entries()
        except UserError as error:
            if time.monotonic() - self._heard_at > self.patience_s:
                raise UserError(f"Slurm has been silent for {self.patience_s / 60:.0f} minutes ({error})") from error
            return None
        self._heard_at = time.monotonic()
        return found
