"""How the points of a sweep stand, for people and for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinv.runs.text_table import align_columns
from tinv.sweeps.point_names import format_value, shorten_keys


@dataclass
class ResultRow:
    """A point as the table shows it."""

    point: int
    swept: Mapping[str, str] = field(default_factory=dict)
    status: str = "waiting"
    """`waiting`, `queued`, `running`, `requeued`, `done`, `pruned`, `failed` or `interrupted`."""
    value: float | None = None
    seconds: float | None = None
    folder: str = ""
    reason: str | None = None
    steps: int | None = None
    """How many optimizer steps it made."""


def format_table(rows: Sequence[ResultRow], monitor: str | None) -> str:
    """Columns side by side, the swept settings under their short names."""
    keys = _keys(rows)
    steps = ["steps"] if any(row.steps is not None for row in rows) else []
    heads = ["point", *shorten_keys(keys).values(), "status", *([monitor] if monitor else []), *steps, "time", "folder"]
    lines = [heads]
    for row in rows:
        value = [] if not monitor else ["" if row.value is None else f"{row.value:.6g}"]
        swept = [format_value(row.swept.get(key, "")) for key in keys]
        taken = ["" if row.steps is None else str(row.steps)] if steps else []
        lines.append([str(row.point), *swept, row.status, *value, *taken, format_duration(row.seconds), row.folder])
    return align_columns(lines)


def format_csv(rows: Sequence[ResultRow], monitor: str | None) -> str:
    """A line for each point, the swept settings under their full names."""
    keys = _keys(rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["point", *keys, "status", monitor or "value", "steps", "seconds", "folder", "reason"])
    for row in rows:
        swept = [row.swept.get(key, "") for key in keys]
        table.writerow([row.point, *swept, row.status, row.value, row.steps, row.seconds, row.folder, row.reason])
    return text.getvalue()


def format_duration(seconds: float | None) -> str:
    """`7s`, `3m12s`, `2h05m`."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _keys(rows: Sequence[ResultRow]) -> list[str]:
    found: dict[str, Any] = {}
    for row in rows:
        found |= dict.fromkeys(row.swept)
    return list(found)
