"""The page of a sweep."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinv.config.secrets import hide
from tinv.report.axes import axes
from tinv.report.commands import generate_command, look_command, sweep_command
from tinv.report.contact_sheet import Source, make_album
from tinv.report.downsample import curve_data
from tinv.report.page import figure, link, render
from tinv.report.read_run import read_text
from tinv.report.sweep import Point, Sweep
from tinv.sweeps.point_names import format_swept, format_value, shorten_keys

MOST_NUMBERS = 150_000
"""Of all curves together."""
FEWEST, LONGEST = 40, 800
"""Numbers of a curve."""
_LOG_BYTES, _LOGS = 3000, 20
_REASON = 4000


def sweep_page(sweep: Sweep, *, output: Path, as_of: str) -> str:
    """The HTML.

    Args:
        sweep: what there is.
        output: where the page will be, for links from there.
        as_of: the time at which it was read.
    """
    names = shorten_keys(sweep.keys)
    along = axes(sweep.keys, sweep.points)
    words = {point.number: point.run.placeholders for point in sweep.points}
    album = make_album([Source(point.number, point.run.sheets, words[point.number]) for point in sweep.points])
    return render(
        "sweep.html",
        title=sweep.folder.resolve().parent.name,
        folder=str(sweep.folder),
        as_of=as_of,
        sweep=sweep,
        names=names,
        counts=_counts(sweep.points),
        evaluations=list(dict.fromkeys(name for point in sweep.points for name in point.run.evaluation)),
        links={point.number: link(point.run.folder, output) for point in sweep.points},
        labels={point.number: format_swept(point.swept) for point in sweep.points},
        failures=_failures(sweep.points),
        album=album,
        command=sweep_command(sweep),
        look=look_command(sweep.best.run) if sweep.best else "",
        generate=generate_command(sweep.best.run) if sweep.best else "",
        settings=_common(sweep),
        format_value=format_value,
        data={
            "kind": "sweep",
            "monitor": sweep.monitor,
            "direction": sweep.direction,
            "axes": [asdict(axis) for axis in along],
            "points": [_told(point, sweep) for point in sweep.points],
            "curves": _curves(sweep),
            "frames": album.frames,
            "steps": album.steps,
        },
    )


def _counts(points: Sequence[Point]) -> dict[str, int]:
    counts = dict.fromkeys(("done", "pruned", "running", "waiting", "interrupted", "failed"), 0)
    for point in points:
        counts[point.status] = counts.get(point.status, 0) + 1
    return {status: count for status, count in counts.items() if count}


def _failures(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Each reason once, with all points that had it, and what the first of them said last."""
    by_reason: dict[str, list[Point]] = {}
    for point in points:
        if point.status == "failed":
            by_reason.setdefault(point.reason, []).append(point)
    return [
        {
            "reason": hide(reason[:_REASON]) or "no reason is known: its process was killed",
            "points": [point.number for point in having],
            "log": hide(read_text(having[0].run.folder / "log.txt", most=_LOG_BYTES)) if i < _LOGS else "",
        }
        for i, (reason, having) in enumerate(by_reason.items())
    ]


def _told(point: Point, sweep: Sweep) -> dict[str, Any]:
    return {
        "number": point.number,
        "label": format_swept(point.swept),
        "status": point.status,
        "value": point.value if point.value is not None else point.run.latest(sweep.monitor),
        "final": point.value is not None,
    }


def _curves(sweep: Sweep) -> dict[str, list[dict[str, Any]]]:
    """The monitored number's, the loss's, then others as long as there is room."""
    first = [name for name in (sweep.monitor, "val/loss", "train/loss") if name]
    names = dict.fromkeys([*first, *(name for point in sweep.points for name in point.run.curves)])
    found = {name: [p for p in sweep.points if len(p.run.curves.get(name, [])) > 1] for name in names}
    found = {name: points for name, points in found.items() if points}
    curves: dict[str, list[dict[str, Any]]] = {}
    room = MOST_NUMBERS
    for i, (name, points) in enumerate(found.items()):
        each = min(LONGEST, room // len(points) // min(3, len(found) - i))
        if each < FEWEST and curves:
            break
        curves[name] = [curve_data(point.number, point.run.curves[name], max(FEWEST, each)) for point in points]
        room -= sum(len(curve["x"]) for curve in curves[name])
    return curves


def _common(sweep: Sweep) -> dict[str, str]:
    """The settings that all points have."""
    settings = sweep.plan.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {
        str(name): hide(figure(v) if isinstance(v, float) else str(v))
        for name, v in settings.items()
        if name not in sweep.keys
    }
