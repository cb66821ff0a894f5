"""The page of a sweep."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.report.commands import generate_command, sweep_command
from tinv.report.contact_sheet import SheetSource, make_contact_sheet
from tinv.report.downsample import curve_data
from tinv.report.page import format_number, link, render
from tinv.runs.layout import LOG
from tinv.runs.reader import SweepPointReader, SweepReader, parse_finite
from tinv.sweeps.point_names import format_swept, format_value, shorten_keys

MAX_NUMBERS = 150_000
"""Of all curves together."""
MIN_CURVE, MAX_CURVE = 40, 800
_LOG_BYTES, _MAX_LOGS = 3000, 20
_REASON_CHARACTERS = 4000
_LOG_RATIO = 30
"""Positive numbers whose ratio exceeds this have a logarithmic axis."""
_STATUSES = ("done", "pruned", "discarded", "running", "waiting", "interrupted", "failed")


def sweep_page(sweep: SweepReader, *, output: Path, as_of: str) -> str:
    """Returns the HTML page of a sweep; `output` is its path, for relative links, and `as_of` the time of reading."""
    links = {point.number: link(point.run.folder, output) for point in sweep.points}
    return render("sweep.html", as_of=as_of, **sweep_context(sweep, links))


def sweep_context(sweep: SweepReader, links: Mapping[int, str]) -> dict[str, Any]:
    """Returns the variables of the template; `links` are the addresses of the points."""
    points, best = sweep.points, find_best(sweep)
    keys = list(dict.fromkeys(key for point in points for key in point.swept))
    sheet = make_contact_sheet([SheetSource(p.number, p.run.samples, p.run.placeholder_tokens) for p in points])
    counts = Counter(point.state.status for point in points)
    return {
        "title": sweep.folder.resolve().parent.name,
        "folder": str(sweep.folder),
        "sweep": sweep,
        "keys": keys,
        "best": best,
        "names": shorten_keys(keys),
        "counts": {
            status: counts[status] for status in (*_STATUSES, *(counts.keys() - set(_STATUSES))) if counts[status]
        },
        "scores": list(dict.fromkeys(name for point in points for name in point.run.scores)),
        "links": links,
        "labels": {point.number: format_swept(point.swept) for point in points},
        "failures": _failures(points),
        "sheet": sheet,
        "command": sweep_command(sweep),
        "report": shlex.join(["tinv", "report", str(best.run.folder)]) if best else "",
        "generate": generate_command(best.run) if best else "",
        "settings": {
            str(name): hide(format_number(value) if isinstance(value, float) else str(value))
            for name, value in sweep.settings.items()
            if name not in keys
        },
        "format_value": format_value,
        "data": {
            "kind": "sweep",
            "monitor": sweep.monitor,
            "direction": find_direction(sweep),
            "axes": [asdict(axis) for axis in make_axes(keys, points)],
            "points": [_point_data(point, sweep.monitor) for point in points],
            "curves": _curves(sweep),
            "frames": sheet.frames,
            "steps": sheet.steps,
        },
    }


def _failures(points: Sequence[SweepPointReader]) -> list[dict[str, Any]]:
    """Returns each reason once, with all points that failed for it, and the end of the first point's log."""
    by_reason: dict[str, list[SweepPointReader]] = {}
    for point in points:
        if point.state.status == "failed":
            by_reason.setdefault(point.state.reason or "", []).append(point)
    return [
        {
            "reason": hide(reason[:_REASON_CHARACTERS]) or "unknown: the process was killed",
            "points": [point.number for point in failed],
            "log": hide(failed[0].run.read_tail(LOG, _LOG_BYTES)) if i < _MAX_LOGS else "",
        }
        for i, (reason, failed) in enumerate(by_reason.items())
    ]


def _point_data(point: SweepPointReader, monitor: str | None) -> dict[str, Any]:
    value = point.state.value
    return {
        "number": point.number,
        "label": format_swept(point.swept),
        "status": point.state.status,
        "value": value if value is not None else point.run.last_value(monitor),
        "final": value is not None,
    }


def _curves(sweep: SweepReader) -> dict[str, list[dict[str, Any]]]:
    """Returns the curves of the monitored metric, of the losses, and of other metrics up to MAX_NUMBERS."""
    first = [name for name in (sweep.monitor, "val/loss", "train/loss") if name]
    names = dict.fromkeys([*first, *(name for point in sweep.points for name in point.run.curves)])
    with_curve = {name: [p for p in sweep.points if len(p.run.curves.get(name, [])) > 1] for name in names}
    with_curve = {name: points for name, points in with_curve.items() if points}
    curves: dict[str, list[dict[str, Any]]] = {}
    numbers_left = MAX_NUMBERS
    for i, (name, points) in enumerate(with_curve.items()):
        length = min(MAX_CURVE, numbers_left // len(points) // min(3, len(with_curve) - i))
        if length < MIN_CURVE and curves:
            break
        curves[name] = [curve_data(point.number, point.run.curves[name], max(MIN_CURVE, length)) for point in points]
        numbers_left -= sum(len(curve["x"]) for curve in curves[name])
    return curves


def find_direction(sweep: SweepReader) -> str | None:
    """Returns whether to `minimize` or to `maximize` the monitored metric; None if unknown."""
    for point in sweep.points:
        direction = (point.run.trial or {}).get("study", {}).get("direction")
        if direction in ("minimize", "maximize"):
            return str(direction)
    monitor = sweep.monitor or ""
    return "minimize" if "loss" in monitor else "maximize" if monitor.startswith("eval/") else None


def find_best(sweep: SweepReader) -> SweepPointReader | None:
    """Returns the completed point with the best value of the monitored metric, if its direction is known."""
    done = [point for point in sweep.points if point.state.value is not None and point.state.status == "done"]
    direction = find_direction(sweep)
    if not done or direction is None:
        return None
    sign = 1 if direction == "minimize" else -1
    return min(done, key=lambda point: sign * (point.state.value or 0))


@dataclass(frozen=True)
class Axis:
    """A swept setting."""

    key: str
    name: str
    """The shortest unambiguous name."""
    words: list[str] | None
    """The values in their order, if they are not numbers."""
    is_log: bool
    at: list[float | None]
    """The position of each point: a number, or the index of a word."""


def make_axes(keys: Sequence[str], points: Sequence[SweepPointReader]) -> list[Axis]:
    """Returns an axis for each setting that has several values."""
    axes = [_make_axis(key, name, [p.swept.get(key) for p in points]) for key, name in shorten_keys(keys).items()]
    return [axis for axis in axes if len(set(axis.at) - {None}) > 1]


def _make_axis(key: str, name: str, values: Sequence[str | None]) -> Axis:
    numbers = [parse_finite(value) for value in values]
    if all(number is not None for number, value in zip(numbers, values, strict=True) if value is not None):
        present = [number for number in numbers if number is not None]
        is_log = bool(present) and min(present) > 0 and max(present) / min(present) >= _LOG_RATIO
        return Axis(key, name, None, is_log, numbers)
    words = list(dict.fromkeys(value for value in values if value is not None))
    at = [None if value is None else float(words.index(value)) for value in values]
    return Axis(key, name, [format_value(word) for word in words], False, at)
