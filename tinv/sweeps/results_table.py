"""The results of a sweep as text and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinv.runs.text_table import align_columns
from tinv.sweeps.point_names import format_value, shorten_keys


@dataclass
class ResultRow:
    """The result of one point."""

    point: int
    swept: Mapping[str, str] = field(default_factory=dict)
    status: str = "waiting"
    """`waiting`, `queued`, `running`, `requeued`, `done`, `pruned`, `failed` or `interrupted`."""
    value: float | None = None
    """The monitored number."""
    seconds: float | None = None
    folder: str = ""
    reason: str | None = None
    """Why the point failed."""
    steps: int | None = None
    """The number of optimizer steps."""


def format_table(rows: Sequence[ResultRow], monitor: str | None) -> str:
    """Returns a table in aligned columns, with short names for the swept settings."""
    keys = _swept_keys(rows)
    has_steps = any(row.steps is not None for row in rows)
    heads = ["point", *shorten_keys(keys).values(), "status", *([monitor] if monitor else [])]
    lines = [[*heads, *(["steps"] if has_steps else []), "time", "folder"]]
    for row in rows:
        cells = [str(row.point), *(format_value(row.swept.get(key, "")) for key in keys), row.status]
        cells += ["" if row.value is None else f"{row.value:.6g}"] if monitor else []
        cells += ["" if row.steps is None else str(row.steps)] if has_steps else []
        lines.append([*cells, format_duration(row.seconds), row.folder])
    return align_columns(lines)


def format_csv(rows: Sequence[ResultRow], monitor: str | None) -> str:
    """Returns CSV with a line for each point and the full names of the swept settings."""
    keys = _swept_keys(rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["point", *keys, "status", monitor or "value", "steps", "seconds", "folder", "reason"])
    for row in rows:
        swept = [row.swept.get(key, "") for key in keys]
        table.writerow([row.point, *swept, row.status, row.value, row.steps, row.seconds, row.folder, row.reason])
    return text.getvalue()


def format_duration(seconds: float | None) -> str:
    """Returns `7s`, `3m12s` or `2h05m`; an empty string for None."""
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def _swept_keys(rows: Sequence[ResultRow]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.swept))
