"""`hydra/sweeper=grid`: a run for each combination of the swept values."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.sweeps.launchers import run_points
from tinv.sweeps.sweep_run import SweepRun


class GridSweeper(Sweeper):
    """Runs all points of the plan."""

    def __init__(self, params: Mapping[str, Any] | None = None):
        """Args:
        params: swept values beside those of the command, in the same syntax: `{seed: "0,1,2"}`.
        """
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Stores the configuration and builds the launcher."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs every point that is not completed."""
        assert self.config is not None and self.launcher is not None, "setup() comes first"
        sweep = SweepRun(self.config)
        with sweep.running():
            points = sweep.start()
            sweep.results.add(points)
            with closing(run_points(self.launcher, sweep.remaining(points), sweep.folder, batch_size=None)) as runs:
                for point, status in runs:
                    sweep.record(point, status)
