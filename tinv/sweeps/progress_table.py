"""The progress of a sweep's runs, read only from the files in its folder; any machine that mounts it can do so."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.layout import PLAN, STATUS
from tinv.runs.parent_process import runs_here
from tinv.runs.reader import RunReader, SweepReader
from tinv.runs.status import Progress, Status
from tinv.runs.text_table import align_columns
from tinv.sweeps.point_names import format_value, shorten_keys
from tinv.sweeps.results_table import format_duration

SILENT_S = 600.0
"""A run writes its progress every few seconds. After this many seconds without a change it has probably died."""


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run."""

    name: str
    """Its number in the sweep, or the name of its folder."""
    swept: Mapping[str, str] = field(default_factory=dict)
    status: Status = field(default_factory=lambda: Status("waiting"))
    progress: Progress | None = None
    silent_s: float = 0.0
    """Seconds since it last wrote a file."""
    problems: Sequence[str] = ()
    """Messages about its damaged files."""

    @property
    def has_died(self) -> bool:
        """Whether its process, on this machine and outside of Slurm, has ended without a word."""
        status = self.status
        return status.status == "running" and status.job is None and runs_here(status.process) is False

    @property
    def is_silent(self) -> bool:
        """Whether it has died, or probably has."""
        return self.has_died or (self.status.status == "running" and self.silent_s > SILENT_S)


def read_progress(folder: Path) -> list[RunProgress]:
    """Returns the progress of each run in a sweep's folder, or of the run in a run's folder.

    Raises:
        UserError: the folder is neither.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the folder does not exist. Give the folder of a sweep or of a run.")
    sweep, reader = SweepReader(folder), RunReader(folder)
    if sweep.exists:
        for problem in sweep.describe_problems():
            warnings.warn(problem, stacklevel=2)
        return [_run_progress(point.run, str(point.number), point.swept) for point in sweep.points]
    run = _run_progress(reader, folder.name, {})
    if problems := [*sweep.describe_problems(), *run.problems] if run.status.status == "waiting" else []:
        raise UserError(f"{'; '.join(problems)}. Nothing else in the folder shows the progress.")
    if run.status.status == "waiting":
        raise UserError(f"{folder} holds neither a sweep ({PLAN}) nor a run that has started ({STATUS})")
    return [run]


def format_progress(runs: list[RunProgress]) -> str:
    """Returns a table, and below it the reasons of failures and the number of runs in each state."""
    keys = list(dict.fromkeys(key for run in runs for key in run.swept))
    heads = ["point", *shorten_keys(keys).values(), "status", "step", "rate", "left", "restarts", "loss", "job"]
    lines, remarks = [heads], []
    for run in runs:
        progress, status, is_running = run.progress, run.status, run.status.status == "running"
        step = f"{progress.step}/{progress.max_steps}" if progress else ""
        rate = f"{progress.steps_per_s:.3g}/s" if progress and is_running else ""
        left = format_duration(progress.seconds_left) if progress and is_running else ""
        loss = "" if progress is None or progress.loss is None else f"{progress.loss:.4g}"
        state = f"{status.status}?" if run.is_silent else status.status
        swept = [format_value(run.swept.get(key, "")) for key in keys]
        lines.append([run.name, *swept, state, step, rate, left, str(status.restarts or ""), loss, status.job or ""])
        if run.has_died:
            remedy = "Resume it with resume=latest, or its sweep with sweep.resume."
            remarks.append(f"{run.name}: its process ({status.process}) has ended. {remedy}")
        elif run.is_silent:
            silence = format_duration(run.silent_s)
            remarks.append(f"{run.name}: wrote nothing for {silence}. If its job is gone, resume with sweep.resume.")
        elif status.reason:
            remarks.append(f"{run.name}: {status.reason}")
        remarks += [f"{run.name}: {problem}" for problem in run.problems]
    states = [run.status.status for run in runs]
    total = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return "\n".join([align_columns(lines), *remarks, *([total] if len(runs) > 1 else [])])


def progress_records(runs: list[RunProgress]) -> list[dict[str, Any]]:
    """Returns a flat dictionary for each run, for JSON."""
    return [
        {
            "name": run.name,
            "swept": dict(run.swept),
            **vars(run.status),
            **_flat_progress(run.progress),
            "is_silent": run.is_silent,
            "problems": list(run.problems),
        }
        for run in runs
    ]


def _flat_progress(progress: Progress | None) -> dict[str, Any]:
    values = vars(progress) if progress else {}
    return {name: value for name, value in values.items() if name not in ("timeline", "memory_gb")}


def _run_progress(run: RunReader, name: str, swept: Mapping[str, str]) -> RunProgress:
    status, progress = run.status, run.progress
    silent_s = max(0.0, time.time() - (run.last_written or 0.0)) if status else 0.0
    return RunProgress(name, swept, status or Status("waiting"), progress, silent_s, run.describe_problems())
