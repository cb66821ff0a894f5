"""`hydra/sweeper=grid`: a run for each combination of the swept values."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from tinv.sweeps.launchers import run_points
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.sweep_run import PlannedSweeper, SweepRun


class GridSweeper(PlannedSweeper):
    """Runs all points of the plan."""

    def __init__(self, params: Mapping[str, Any] | None = None):
        """Args:
        params: swept values beside those of the command, in the same syntax: `{seed: "0,1,2"}`.
        """
        self.params = params

    def sweep(self, arguments: list[str]) -> None:
        """Runs every point that is not completed."""
        sweep = SweepRun(self.config, self.plan)
        with sweep.running():
            points = sweep.start()
            sweep.results.add(points)
            points = _group_by_model(points, self.plan.settings)
            with closing(run_points(self.launcher, sweep.remaining(points), sweep.folder, batch_size=None)) as runs:
                for point, status in runs:
                    sweep.record(point, status)


def _group_by_model(points: Iterable[SweepPoint], settings: Mapping[str, Mapping[str, Any]]) -> list[SweepPoint]:
    """Returns the points in their order, but those with the same frozen model one after the other."""
    numbers: dict[str, int] = {}

    def number_of_model(point: SweepPoint) -> int:
        model = {name: value for name, value in settings.get(point.key, {}).items() if name.startswith("model.")}
        return numbers.setdefault(repr(sorted(model.items())), len(numbers))

    return sorted(points, key=number_of_model)
