"""`hydra/sweeper=grid`: a run for each combination of the swept values."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tinv.sweeps.launchers import run_points
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
            with closing(run_points(self.launcher, sweep.remaining(points), sweep.folder, batch_size=None)) as runs:
                for point, status in runs:
                    sweep.record(point, status)
