"""How the runs of a sweep stand, from the files in its folder alone: also on a machine that only mounts it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinv.errors import UserError
from tinv.runs.status import PROGRESS, Status, read_status
from tinv.runs.text_table import align_columns
from tinv.sweeps.plan_file import FILE as PLAN
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
    progress: Mapping[str, Any] = field(default_factory=dict)
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
    plan = _json(folder / PLAN)
    if plan:
        swept = {str(row["point"]): row["swept"] for row in plan["points"]}
        names = {*swept, *(path.parent.name for path in folder.glob("*/status.json") if path.parent.name.isdigit())}
        return [_standing(folder / name, name, swept.get(name, {})) for name in sorted(names, key=int)]
    found = _standing(folder, folder.name, {})
    if found.status.status == "waiting":
        raise UserError(f"{folder} holds neither a sweep ({PLAN}) nor a run that has begun (status.json)")
    return [found]


def format_progress(found: list[RunProgress]) -> str:
    """A table, and below it what went wrong."""
    keys = list(dict.fromkeys(key for one in found for key in one.swept))
    heads = ["point", *shorten_keys(keys).values(), "status", "step", "rate", "left", "restarts", "loss", "job"]
    lines = [heads]
    for one in found:
        told, is_running = one.progress, one.status.status == "running"
        step = f"{told['step']}/{told['of']}" if told else ""
        rate = f"{told['steps_per_s']:.3g}/s" if told and is_running else ""
        left = format_duration(told.get("seconds_left")) if is_running else ""
        loss = "" if told.get("loss") is None else f"{told['loss']:.4g}"
        state = f"{one.status.status}?" if one.is_silent else one.status.status
        swept = [format_value(one.swept.get(key, "")) for key in keys]
        lines.append([one.name, *swept, state, step, rate, left, str(one.status.restarts or ""), loss, _job(one)])
    counted = [one.status.status for one in found]
    total = ", ".join(f"{counted.count(state)} {state}" for state in dict.fromkeys(counted))
    return "\n".join([align_columns(lines), *_remarks(found), *([total] if len(found) > 1 else [])])


def progress_records(found: list[RunProgress]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {"name": one.name, "swept": dict(one.swept), **vars(one.status), **one.progress, "is_silent": one.is_silent}
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


def _standing(run: Path, name: str, swept: Mapping[str, str]) -> RunProgress:
    status = read_status(run)
    if status is None:
        return RunProgress(name, swept)
    written = [path.stat().st_mtime for path in (run / PROGRESS, run / "status.json") if path.exists()]
    return RunProgress(name, swept, status, _json(run / PROGRESS), max(0.0, time.time() - max(written)))


def _json(path: Path) -> dict[str, Any]:
    """What a file holds, or nothing while it is not there or cannot be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
