"""`hydra/sweeper=grid`: a run for every combination of the swept values."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.sweeps.launchers import run_points
from tinv.sweeps.points import combinations
from tinv.sweeps.sweep_run import SweepRun


class GridSweeper(Sweeper):
    """Knows all points from the start."""

    def __init__(self, params: Mapping[str, Any] | None = None):
        """Args:
        params: what is swept besides what is typed, as it would be typed: `{seed: "0,1,2"}`.
        """
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take from Hydra what a sweep needs."""
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run every point that has not been run."""
        assert self.config is not None and self.launcher is not None, "setup() comes first"
        campaign = SweepRun(self.config, arguments)
        with campaign.underway():
            points = campaign.plan(combinations(campaign.groups, campaign.command))
            campaign.ledger.enter(points)
            runs = run_points(self.launcher, campaign.waiting(points), campaign.folder, batch_size=None)
            with closing(runs):
                for point, status in runs:
                    campaign.note(point, status)
