"""`hydra/sweeper=optuna`: Optuna chooses each point from the results of earlier points."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.errors import UserError, require_minimum
from tinv.runs.trial import OptunaTrialRef
from tinv.sweeps.launchers import run_points
from tinv.sweeps.optuna_plots import draw_plots
from tinv.sweeps.optuna_trials import OptunaTrials
from tinv.sweeps.sweep_run import PlannedSweeper, SweepRun

JOURNAL = "study.journal"


class OptunaSweeper(PlannedSweeper):
    """Runs the trials of an Optuna study as points."""

    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        n_trials: int = 20,
        direction: Literal["minimize", "maximize"] = "minimize",
        sampler: Literal["tpe", "random"] = "tpe",
        seed: int = 0,
        storage: str | None = None,
        study_name: str | None = None,
        pruner: Literal["median", "none"] = "median",
        pruner_startup_trials: int = 5,
        pruner_warmup_steps: int = 0,
    ):
        """Args:
        params: the search space beside that of the command: `{optimizer.lr: "interval(1e-4, 1e-2)"}`.
        n_trials: how many trials to complete, over all processes that share the study.
        direction: whether to minimize or maximize the monitored number.
        sampler: the sampler that chooses the points.
        seed: seed of the sampler.
        storage: a journal file, or a database such as `sqlite:///study.db`; None is a file in the sweep's folder.
        study_name: the study's name in the storage; None is the setting `name`.
        pruner: the pruner that ends runs early.
        pruner_startup_trials: how many trials run to the end before any is pruned.
        pruner_warmup_steps: how many steps each run takes before it can be pruned.
        """
        require_minimum("hydra.sweeper.n_trials", n_trials, 1)
        self.params, self.n_trials, self.sampler, self.seed = params, n_trials, sampler, seed
        self.storage, self.study_name = storage, study_name
        self.study_options: dict[str, Any] = {
            "direction": direction,
            "pruner": pruner,
            "pruner_startup_trials": pruner_startup_trials,
            "pruner_warmup_steps": pruner_warmup_steps,
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks that there is a number to optimize, stores the configuration and builds the launcher."""
        if config.monitor is None:
            raise UserError("monitor=null: hydra/sweeper=optuna needs a number to optimize. Set one, such as val/loss.")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Runs points until enough trials are completed."""
        sweep = SweepRun(self.config, self.plan)
        with sweep.running():
            sweep.start()
            study_ref = OptunaTrialRef(
                storage=self.storage or str((sweep.folder / JOURNAL).absolute()),
                name=self.study_name or self.config.name,
                **self.study_options,
            )
            trials = OptunaTrials(study_ref, sweep, n_trials=self.n_trials, sampler=self.sampler, seed=self.seed)
            with closing(run_points(self.launcher, trials.points(), sweep.folder, batch_size=1)) as runs:
                for point, status in runs:
                    sweep.record(point, trials.tell(point, status))
            print(f"\n{trials.describe_best()}", flush=True)
            draw_plots(trials.study, sweep.folder, self.config.monitor)
