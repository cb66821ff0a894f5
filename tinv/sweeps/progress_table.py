"""How the runs of a sweep stand, from the files in its folder alone: also on a machine that only mounts it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.layout import PLAN, STATUS
from tinv.runs.reader import RunReader, SweepReader
from tinv.runs.status import Progress, Status
from tinv.runs.text_table import align_columns
from tinv.sweeps.point_names import format_value, shorten_keys
from tinv.sweeps.results_table import format_duration

SILENT_S = 600.0
"""A run writes down how far it is every few seconds; after so long without a word something is wrong."""


@dataclass(frozen=True)
class RunProgress:
    """A run, as it says of itself."""

    name: str
    """Its number in the sweep, or its folder's name."""
    swept: Mapping[str, str] = field(default_factory=dict)
    status: Status = field(default_factory=lambda: Status("waiting"))
    progress: Progress | None = None
    silent_s: float = 0.0
    """Since it last wrote anything, if it is running."""

    @property
    def is_silent(self) -> bool:
        """Whether it may be dead."""
        return self.status.status == "running" and self.silent_s > SILENT_S


def read_progress(folder: Path) -> list[RunProgress]:
    """The runs in a sweep's folder, or the run whose folder it is.

    Raises:
        UserError: it is neither.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give that of a sweep or of a run")
    sweep = SweepReader(folder)
    if sweep.plan:
        return [_progress(point.run, str(point.number), point.swept) for point in sweep.points]
    found = _progress(RunReader(folder), folder.name, {})
    if found.status.status == "waiting":
        raise UserError(f"{folder} holds neither a sweep ({PLAN}) nor a run that has begun ({STATUS})")
    return [found]


def format_progress(found: list[RunProgress]) -> str:
    """A table, and below it what went wrong."""
    keys = list(dict.fromkeys(key for one in found for key in one.swept))
    heads = ["point", *shorten_keys(keys).values(), "status", "step", "rate", "left", "restarts", "loss", "job"]
    lines = [heads]
    for one in found:
        progress, is_running = one.progress, one.status.status == "running"
        step = f"{progress.step}/{progress.max_steps}" if progress else ""
        rate = f"{progress.steps_per_s:.3g}/s" if progress and is_running else ""
        left = format_duration(progress.seconds_left) if progress and is_running else ""
        loss = "" if progress is None or progress.loss is None else f"{progress.loss:.4g}"
        state = f"{one.status.status}?" if one.is_silent else one.status.status
        swept = [format_value(one.swept.get(key, "")) for key in keys]
        lines.append([one.name, *swept, state, step, rate, left, str(one.status.restarts or ""), loss, _job(one)])
    counted = [one.status.status for one in found]
    total = ", ".join(f"{counted.count(state)} {state}" for state in dict.fromkeys(counted))
    return "\n".join([align_columns(lines), *_remarks(found), *([total] if len(found) > 1 else [])])


def progress_records(found: list[RunProgress]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "name": one.name,
            "swept": dict(one.swept),
            **vars(one.status),
            **(vars(one.progress) if one.progress else {}),
            "is_silent": one.is_silent,
        }
        for one in found
    ]


def _remarks(found: list[RunProgress]) -> list[str]:
    remarks = []
    for one in found:
        if one.is_silent:
            said = f"has written nothing for {format_duration(one.silent_s)}; if its job is gone, sweep.resume goes on with it"
            remarks.append(f"{one.name}: {said}")
        elif one.status.reason:
            remarks.append(f"{one.name}: {one.status.reason}")
    return remarks


def _job(one: RunProgress) -> str:
    return one.status.job or ""


def _progress(run: RunReader, name: str, swept: Mapping[str, str]) -> RunProgress:
    if run.status is None:
        return RunProgress(name, swept)
    return RunProgress(name, swept, run.status, run.progress, max(0.0, time.time() - (run.last_written or 0.0)))
