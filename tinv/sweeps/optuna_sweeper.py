"""`hydra/sweeper=optuna`: each point is chosen by how those before it went."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.errors import UserError
from tinv.runs.trial import OptunaTrialRef, load_optuna
from tinv.sweeps.launchers import run_points
from tinv.sweeps.optuna_plots import draw
from tinv.sweeps.optuna_trials import OptunaTrials
from tinv.sweeps.search_space import space
from tinv.sweeps.sweep_run import SweepRun

JOURNAL = "study.journal"


class OptunaSweeper(Sweeper):
    """Optuna's ask and tell around a `Campaign` whose points are found on the way."""

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
        params: what is searched besides what is typed: `{optimizer.lr: "interval(1e-4, 1e-2)"}`.
        n_trials: how many points are to end well, over all processes that share the study.
        direction: of the monitored number.
        sampler: how points are chosen.
        seed: of the sampler.
        storage: a journal file or a database such as `sqlite:///study.db`; None is a file in the sweep's folder.
        study: its name in the storage; None is the settings' `name`.
        pruner: what ends runs early.
        pruner_startup_trials: how many run to their end before any is ended early.
        pruner_warmup_steps: how many steps each may take in any case.
        """
        if n_trials < 1:
            raise UserError(f"hydra.sweeper.n_trials must be 1 or more, got {n_trials}")
        self.params, self.n_trials, self.sampler, self.seed = params, n_trials, sampler, seed
        self.storage, self.study_name, self.direction = storage, study_name, direction
        self.pruner, self.startup_trials, self.warmup_steps = pruner, pruner_startup_trials, pruner_warmup_steps

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take from Hydra what a sweep needs."""
        if config.monitor is None:
            raise UserError("monitor is null, and hydra/sweeper=optuna goes by it; set it to a number such as val/loss")
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run points until enough of them have ended well."""
        assert self.config is not None and self.launcher is not None, "setup() comes first"
        campaign = SweepRun(self.config, arguments)
        searched = space(campaign.groups, campaign.command, load_optuna())
        with campaign.underway():
            campaign.plan([searched.example], also={f"search of {key}": text for key, text in searched.texts.items()})
            trials = OptunaTrials(
                self._place(campaign.folder, self.config.name),
                searched,
                campaign,
                n_trials=self.n_trials,
                sampler=self.sampler,
                seed=self.seed,
            )
            runs = run_points(self.launcher, trials.points(), campaign.folder, batch_size=1)
            with closing(runs):
                for point, status in runs:
                    campaign.note(point, trials.tell(point, status))
            print(f"\n{trials.best()}", flush=True)
            draw(trials.study, campaign.folder, self.config.monitor)

    def _place(self, folder: Path, name: str) -> OptunaTrialRef:
        return OptunaTrialRef(
            storage=self.storage or str((folder / JOURNAL).absolute()),
            name=self.study_name or name,
            direction=self.direction,
            pruner=self.pruner,
            pruner_startup_trials=self.startup_trials,
            pruner_warmup_steps=self.warmup_steps,
        )
