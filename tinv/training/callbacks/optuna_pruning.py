"""Ends a run early that is worse than others were; only where the run is a trial of a study."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.runs.layout import TRIAL
from tinv.runs.trial import PRUNED_AT, read_trial


class OptunaPruning(Callback):
    """Reports the monitored number to the study after each validation, and stops the run if the study says so.

    The run then ends as it would have at its last step: with its export, its samples and a checkpoint.
    """

    def __init__(self, dir: Path | str, monitor: str | None = "val/loss"):
        """Args:
        dir: the run's folder.
        monitor: name of the number.
        """
        self.run_dir, self.monitor = Path(dir), monitor
        self._trial: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Find the study, if there is one."""
        if trainer.is_global_zero:
            self._trial = read_trial(self.run_dir)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Report, and ask whether to go on. A run that has come to its last step is never ended early."""
        step, value = trainer.global_step, trainer.callback_metrics.get(self.monitor or "")
        if value is None or trainer.sanity_checking or not (self.run_dir / TRIAL).exists():
            return
        is_worse = False
        if self._trial is not None:
            if step not in self._trial.study.get_trials(deepcopy=False)[self._trial.number].intermediate_values:
                self._trial.report(float(value), step)
            is_worse = step < trainer.max_steps and self._trial.should_prune()
            if is_worse:
                self._trial.set_user_attr(PRUNED_AT, step)
        if trainer.strategy.broadcast(is_worse):
            trainer.should_stop = True
