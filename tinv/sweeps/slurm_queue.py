"""Slurm's queue: the user's jobs in it, submitting, canceling."""

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
"""Final states of a job. Slurm shows a requeued job as pending."""
NEVER_STARTS = (
    *("BadConstraints", "DependencyNeverSatisfied", "PartitionNodeLimit", "PartitionTimeLimit"),
    *("launch failed requeued held",),
)
"""Reasons for which a pending job never starts."""
_FIELDS = ("%F", "%K", "%T", "%r", "%k")


@dataclass(frozen=True)
class QueueEntry:
    """A task of a job array in the queue."""

    job: str
    """`123_4`."""
    state: str
    """`PENDING`, `RUNNING`, `COMPLETING`, or one of `ENDED`."""
    reason: str
    """Slurm's reason for the state."""
    comment: str
    """The comment that was given to sbatch: the sweep's folder."""

    @property
    def has_ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ENDED

    @property
    def cannot_start(self) -> bool:
        """Whether it would be pending forever."""
        return self.state == "PENDING" and self.reason.strip("()") in NEVER_STARTS


def list_entries() -> dict[str, QueueEntry]:
    """Returns the user's array tasks by job; Slurm lists ended ones for some minutes.

    Raises:
        UserError: Slurm does not answer.
    """
    output = run_slurm_command(
        "squeue", "--noheader", "--array", "--me", "--states=all", f"--format={'|'.join(_FIELDS)}"
    )
    entries = {}
    for line in output.splitlines():
        array, task, state, reason, comment = line.split("|", len(_FIELDS) - 1)
        if task.isdigit():
            job = f"{array}_{task}"
            entries[job] = QueueEntry(job, state, reason, comment)
    return entries


def submit(script: Path, options: Mapping[str, str | None]) -> str:
    """Submits a batch script, and returns the number of the job.

    Args:
        script: the bash script.
        options: options of sbatch without dashes; None for an option that takes no value.

    Raises:
        UserError: Slurm refuses the job.
    """
    arguments = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
    try:
        return run_slurm_command("sbatch", "--parsable", *arguments, str(script)).strip().partition(";")[0]
    except UserError as error:
        settings = next((settings for text, settings in _SETTINGS.items() if text in str(error).lower()), None)
        raise UserError(f"{error}; change {settings}" if settings else str(error)) from None


_SETTINGS = {
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
    "array": "the number of points, or hydra.launcher.array_parallelism",
}
"""Text in an error of sbatch, and the settings that it is about."""


def cancel(jobs: Sequence[str]) -> None:
    """Cancels jobs, pending or running."""
    run_slurm_command("scancel", *jobs)


class QueueMonitor:
    """Polls the queue and tolerates a Slurm that does not answer for some time."""

    def __init__(self, patience_s: float = 1800.0):
        """Args:
        patience_s: for how many seconds Slurm may not answer.
        """
        self.patience_s = patience_s
        self._answered_at = time.monotonic()

    def poll(self) -> dict[str, QueueEntry] | None:
        """Returns the entries, or None if Slurm does not answer.

        Raises:
            UserError: it has not answered for `patience_s` seconds.
        """
        try:
            entries = list_entries()
        except UserError as error:
            if time.monotonic() - self._answered_at > self.patience_s:
                raise UserError(f"Slurm has not answered for {self.patience_s / 60:.0f} minutes ({error})") from error
            return None
        self._answered_at = time.monotonic()
        return entries
