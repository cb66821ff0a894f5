"""The table of `tinv queue list`: the jobs of the queue, and the sweeps that Slurm runs."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.layout import PLAN
from tinv.runs.reader import RunReader, SweepReader
from tinv.runs.text_table import align_columns
from tinv.sweeps import slurm_queue
from tinv.sweeps.job_queue import FAILED, RUNNING, Job, QueueState
from tinv.sweeps.launchers import display_path

MAX_COMMAND = 60


def list_cluster_runs(root_dir: Path | str) -> list[dict[str, Any]]:
    """Returns the points of sweeps below an outputs folder that Slurm has not finished: folder, job and state.

    The state is that in the files of the run; where Slurm's programs are installed, `slurm` is that in its queue.
    """
    sweeps = [SweepReader(path.parent) for path in sorted(Path(root_dir).glob(f"*/*/{PLAN}"))]
    points = [point for sweep in sweeps for point in sweep.points if point.state.job and not point.state.has_ended]
    entries: dict[str, slurm_queue.QueueEntry] = {}
    if points:
        with suppress(UserError):
            entries = slurm_queue.list_entries()
    return [
        {
            "folder": str(point.run.folder),
            "job": point.state.job,
            "state": point.state.status,
            "slurm": entry.state if (entry := entries.get(str(point.state.job))) else None,
        }
        for point in points
    ]


def queue_records(state: QueueState) -> list[dict[str, Any]]:
    """Returns a dictionary for each job, for JSON, with its progress."""
    return [{**asdict(job), "progress": _progress(job)} for job in state.jobs]


def format_queue(state: QueueState, cluster_runs: Sequence[dict[str, Any]]) -> str:
    """Returns a table of the jobs, the reasons of failures, and a table of what Slurm runs."""
    lines, remarks = [["job", "state", "progress", "device", "command", "folder"]], []
    for job in state.jobs:
        command = " ".join([*(["-m"] if job.is_sweep else []), *job.overrides])
        short = command if len(command) <= MAX_COMMAND else f"{command[: MAX_COMMAND - 3]}..."
        folder = display_path(Path(job.folder)) if job.folder else ""
        lines.append([job.id, job.state, _progress(job), job.device, short, folder])
        if job.reason and job.state == FAILED:
            remarks.append(f"{job.id}: {job.reason}")
    parts = [align_columns(lines) if state.jobs else "the queue is empty", *remarks]
    if state.is_paused:
        parts.append("paused: no further job starts; tinv queue pause --off")
    if cluster_runs:
        rows = [[display_path(Path(run["folder"])), run["job"], run["slurm"] or run["state"]] for run in cluster_runs]
        parts += ["", align_columns([["on Slurm", "job", "state"], *rows])]
    return "\n".join(parts)


def _progress(job: Job) -> str:
    """Returns the step of a run, or how many points of a sweep are in each state; empty before the start."""
    if not job.folder or (job.state != RUNNING and not job.attempts):
        return ""
    if not job.is_sweep:
        progress = RunReader(job.folder).progress
        return f"step {progress.step}/{progress.max_steps}" if progress else ""
    states = [point.state.status for point in SweepReader(job.folder).points]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
