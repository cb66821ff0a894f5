"""What the page of a sweep needs beyond its files: the swept settings, the direction and the best point."""

from collections.abc import Sequence

from tinv.runs.reader import SweepPointReader, SweepReader


def swept_keys(points: Sequence[SweepPointReader]) -> list[str]:
    """Returns the swept settings of all points."""
    return list(dict.fromkeys(key for point in points for key in point.swept))


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
