"""Prunes a run that is a trial of an Optuna study."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.runs.layout import TRIAL
from tinv.runs.trial import PRUNED_AT, read_trial


class OptunaPruning(Callback):
    """Reports the monitored metric to the study after each validation, and stops the run if the study prunes it.

    A pruned run ends like a complete one: with its export, its samples and a checkpoint.
    """

    def __init__(self, dir: Path | str, monitor: str | None = "val/loss"):
        self.run_dir, self.monitor = Path(dir), monitor
        self._trial: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Opens the trial if the run is one."""
        if trainer.is_global_zero:
            self._trial = read_trial(self.run_dir)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Reports the metric and stops the run if it is pruned, except at its last step."""
        step, value = trainer.global_step, trainer.callback_metrics.get(self.monitor or "")
        if value is None or trainer.sanity_checking or not (self.run_dir / TRIAL).exists():
            return
        should_prune = False
        if self._trial is not None:
            if step not in self._trial.study.get_trials(deepcopy=False)[self._trial.number].intermediate_values:
                self._trial.report(float(value), step)
            if should_prune := step < trainer.max_steps and self._trial.should_prune():
                self._trial.set_user_attr(PRUNED_AT, step)
        if trainer.strategy.broadcast(should_prune):
            trainer.should_stop = True
