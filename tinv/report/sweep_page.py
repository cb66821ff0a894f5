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
from tinv.report.sweep import find_best, find_direction, swept_keys
from tinv.runs.layout import LOG
from tinv.runs.reader import SweepPointReader, SweepReader
from tinv.sweeps.point_names import format_swept, format_value, shorten_keys

MOST_NUMBERS = 150_000
"""Of all curves together."""
FEWEST, LONGEST = 40, 800
"""Numbers of a curve."""
_LOG_BYTES, _LOGS = 3000, 20
_REASON = 4000


def sweep_page(sweep: SweepReader, *, output: Path, as_of: str) -> str:
    """The HTML.

    Args:
        sweep: what there is.
        output: where the page will be, for links from there.
        as_of: the time at which it was read.
    """
    keys, best = swept_keys(sweep.points), find_best(sweep)
    names = shorten_keys(keys)
    along = axes(keys, sweep.points)
    words = {point.number: point.run.placeholder_tokens for point in sweep.points}
    album = make_album([Source(point.number, point.run.samples, words[point.number]) for point in sweep.points])
    return render(
        "sweep.html",
        title=sweep.folder.resolve().parent.name,
        folder=str(sweep.folder),
        as_of=as_of,
        sweep=sweep,
        keys=keys,
        best=best,
        names=names,
        counts=_counts(sweep.points),
        evaluations=list(dict.fromkeys(name for point in sweep.points for name in point.run.scores)),
        links={point.number: link(point.run.folder, output) for point in sweep.points},
        labels={point.number: format_swept(point.swept) for point in sweep.points},
        failures=_failures(sweep.points),
        album=album,
        command=sweep_command(sweep),
        look=look_command(best.run) if best else "",
        generate=generate_command(best.run) if best else "",
        settings=_common(sweep, keys),
        format_value=format_value,
        data={
            "kind": "sweep",
            "monitor": sweep.monitor,
            "direction": find_direction(sweep),
            "axes": [asdict(axis) for axis in along],
            "points": [_told(point, sweep) for point in sweep.points],
            "curves": _curves(sweep),
            "frames": album.frames,
            "steps": album.steps,
        },
    )


def _counts(points: Sequence[SweepPointReader]) -> dict[str, int]:
    counts = dict.fromkeys(("done", "pruned", "running", "waiting", "interrupted", "failed"), 0)
    for point in points:
        counts[point.state.status] = counts.get(point.state.status, 0) + 1
    return {status: count for status, count in counts.items() if count}


def _failures(points: Sequence[SweepPointReader]) -> list[dict[str, Any]]:
    """Each reason once, with all points that had it, and what the first of them said last."""
    by_reason: dict[str, list[SweepPointReader]] = {}
    for point in points:
        if point.state.status == "failed":
            by_reason.setdefault(point.state.reason or "", []).append(point)
    return [
        {
            "reason": hide(reason[:_REASON]) or "no reason is known: its process was killed",
            "points": [point.number for point in having],
            "log": hide(having[0].run.read_tail(LOG, _LOG_BYTES)) if i < _LOGS else "",
        }
        for i, (reason, having) in enumerate(by_reason.items())
    ]


def _told(point: SweepPointReader, sweep: SweepReader) -> dict[str, Any]:
    return {
        "number": point.number,
        "label": format_swept(point.swept),
        "status": point.state.status,
        "value": point.state.value if point.state.value is not None else point.run.last_value(sweep.monitor),
        "final": point.state.value is not None,
    }


def _curves(sweep: SweepReader) -> dict[str, list[dict[str, Any]]]:
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


def _common(sweep: SweepReader, keys: Sequence[str]) -> dict[str, str]:
    """The settings that all points have."""
    return {
        str(name): hide(figure(v) if isinstance(v, float) else str(v))
        for name, v in sweep.settings.items()
        if name not in keys
    }
