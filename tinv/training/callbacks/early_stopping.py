"""Stops a run when a metric no longer improves."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer

from tinv.errors import require_minimum
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.metric_monitor import MetricMonitor, Mode
from tinv.training.callbacks.stopping_rule import StoppingRule


class EarlyStopping(StoppingRule, MetricMonitor):
    """Stops a run after `patience` measurements in a row without an improvement; see MetricMonitor for the metric."""

    def __init__(
        self,
        monitor: str | None = "val/loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        min_steps: int = 0,
    ):
        """Args:
        patience: number of measurements without an improvement after which the run stops.
        min_delta: smallest change that counts as an improvement.
        min_steps: number of optimizer steps that the run takes in any case.
        """
        StoppingRule.__init__(self, min_steps)
        MetricMonitor.__init__(self, monitor, mode, setting="early_stopping")
        require_minimum("early_stopping.patience", patience, 1)
        require_minimum("early_stopping.min_delta", min_delta, 0)
        self.patience, self.min_delta = patience, min_delta
        self._every = EveryNSteps(1, setting="early_stopping")

    def convergence_reason(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """Returns since when the metric has not improved, or None if it still improves."""
        best, count = last_improvement([self.sign * value for _, value in curve], self.min_delta)
        if count < self.patience:
            return None
        step, value = curve[best]
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"{self.monitor} has not improved{by} in {count} measurements, since {value:.4g} at step {step}"

    def on_metric(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """Adds a measurement; a measurement that is repeated after a resume counts once."""
        if self.has_missed(trainer.global_step):
            self.add_values(trainer, values, [token.name for token in pl_module.learned_tokens])
            if trainer.world_size == 1 or self.is_logged_by_lightning:
                self.stop_if_converged(trainer)

    def has_missed(self, step: int) -> bool:
        """Returns whether the curves have no value of a step."""
        return all(curve[-1][0] != step for curve in self.curves.values())

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts counting steps and checks the curves of a resumed run."""
        self._every.reset(trainer.global_step)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Stops all processes after a step whose metric only the first process has measured."""
        if trainer.world_size > 1 and not self.is_logged_by_lightning and self._every.is_due(trainer.global_step):
            self.stop_if_converged(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Prints why the run was stopped, or that the metric was never measured."""
        super().on_fit_end(trainer, pl_module)
        if not self.curves and trainer.is_global_zero:
            print(f"early_stopping.monitor={self.monitor}: never measured", flush=True)


def last_improvement(values: Sequence[float], min_delta: float) -> tuple[int, int]:
    """Returns the index of the last improvement and the number of values after it; higher is better, NaN is worst."""
    index, best = 0, float("-inf")
    for i, value in enumerate(values):
        if value > best + min_delta or (best == float("-inf") and value > best):
            index, best = i, value
    return index, len(values) - 1 - index
