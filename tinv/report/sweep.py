"""A sweep as its folder tells it, while it runs and after it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tinv.report.read_run import read_object
from tinv.report.run import Run
from tinv.runs.trial import FILE as TRIAL


@dataclass(frozen=True)
class Point:
    """A run of a sweep."""

    number: int
    swept: Mapping[str, str]
    run: Run
    noted: Mapping[str, Any]
    """What the sweep's table says of it, which is less fresh than the run's own status."""

    @cached_property
    def status(self) -> str:
        """`waiting`, `running`, `done`, `pruned`, `failed` or `interrupted`."""
        return self._of_run("status") or "waiting"

    @property
    def value(self) -> float | None:
        """The monitored number at the end."""
        value = self._of_run("value")
        is_number = isinstance(value, int | float) and math.isfinite(value)
        return float(value) if is_number else None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        seconds = self._of_run("seconds")
        return float(seconds) if isinstance(seconds, int | float) and seconds else None

    @property
    def reason(self) -> str:
        """Why it failed, or ended early."""
        return str(self._of_run("reason") or "")

    def _of_run(self, name: str) -> Any:
        """The run's own word, unless it was killed: then only the sweep knows."""
        own = self.run.status
        if own is not None and (own.has_ended or self.noted.get("status") in (None, "waiting", "running")):
            return getattr(own, name)
        return self.noted.get(name)


@dataclass(frozen=True)
class Sweep:
    """What is in a sweep's folder."""

    folder: Path
    plan: Mapping[str, Any]
    monitor: str | None
    points: list[Point]

    @property
    def keys(self) -> list[str]:
        """What was swept."""
        return list(dict.fromkeys(key for point in self.points for key in point.swept))

    @cached_property
    def direction(self) -> str | None:
        """`minimize` or `maximize` the monitored number; None if nothing says so."""
        for point in self.points:
            study = read_object(point.run.folder / TRIAL).get("study")
            if isinstance(study, dict) and study.get("direction") in ("minimize", "maximize"):
                return str(study["direction"])
        monitor = self.monitor or ""
        return "minimize" if "loss" in monitor else "maximize" if monitor.startswith("eval/") else None

    @property
    def best(self) -> Point | None:
        """The point with the best number, if it is known what is good."""
        done = [point for point in self.points if point.value is not None and point.status == "done"]
        if not done or self.direction is None:
            return None
        sign = 1 if self.direction == "minimize" else -1
        return min(done, key=lambda point: sign * (point.value or 0))


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep in a folder, or None if there is none: from sweep.json, else from plan.json."""
    table, plan = read_object(folder / "sweep.json"), read_object(folder / "plan.json")
    rows = table.get("points") or plan.get("points")
    if not isinstance(rows, list):
        return None
    monitor = table.get("monitor") or plan.get("settings", {}).get("monitor")
    points = [_point(folder, row) for row in rows if isinstance(row, dict) and isinstance(row.get("point"), int)]
    return Sweep(folder, plan, str(monitor) if monitor else None, points)


def _point(folder: Path, row: Mapping[str, Any]) -> Point:
    swept = row.get("swept")
    swept = {str(key): str(value) for key, value in swept.items()} if isinstance(swept, dict) else {}
    return Point(row["point"], swept, Run(folder / str(row["point"])), row)
