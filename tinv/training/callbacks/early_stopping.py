"""Stops when a number gets no better."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer

from tinv.errors import UserError
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.metric_monitor import MetricMonitor, Mode
from tinv.training.callbacks.stopping import Stopping


class EarlyStopping(Stopping, MetricMonitor):
    """Patience: so many measurements in a row that are no improvement, and the run is over."""

    def __init__(
        self,
        monitor: str | None = "val/loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        min_steps: int = 0,
    ):
        """Args:
        monitor: name of the number.
        patience: how many measurements without an improvement end the run.
        min_delta: by how much a measurement must be better to be an improvement.
        mode: `min` if less is better, `max` if more is, `auto` by the name: less of a loss, more of all else.
        min_steps: not to stop before.
        """
        Stopping.__init__(self, min_steps)
        MetricMonitor.__init__(self, monitor, mode, setting="early_stopping")
        if patience < 1:
            raise UserError(f"early_stopping.patience must be 1 or more, got {patience}")
        if min_delta < 0:
            raise UserError(f"early_stopping.min_delta must be 0 or more, got {min_delta}")
        self.patience, self.min_delta = patience, min_delta
        self._every = EveryNSteps(1, setting="early_stopping")

    def why_flat(self, curve: Sequence[tuple[int, float]]) -> str | None:
        """See the class."""
        best, since = last_improvement([self.sign * value for _, value in curve], self.min_delta)
        if since < self.patience:
            return None
        step, value = curve[best]
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"{self.monitor} has not improved{by} in {since} measurements, since {value:.4g} at step {step}"

    def hear(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """A measurement of the number; one that is repeated when a run goes on counts once."""
        if self.lacks(trainer.global_step):
            self.note(trainer, values, [word.name for word in pl_module.learned_tokens])
            if trainer.world_size == 1 or self.follows_the_loop:
                self.agree(trainer)

    def lacks(self, step: int) -> bool:
        """Whether a step's measurement is not on the curve."""
        return all(curve[-1][0] != step for curve in self.curves.values())

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Steps count from here."""
        self._every.begin(trainer.global_step)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """What one process alone has heard is settled here by all of them."""
        if trainer.world_size > 1 and not self.follows_the_loop and self._every.due(trainer.global_step):
            self.agree(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say so, also if there was nothing to go by."""
        super().on_fit_end(trainer, pl_module)
        if not self.curves and trainer.is_global_zero:
            print(
                f"early_stopping.monitor={self.monitor}: nothing measured that, so nothing could stop the run",
                flush=True,
            )


def last_improvement(values: Sequence[float], min_delta: float) -> tuple[int, int]:
    """Where the last improvement was, and how many values have come since; more is better, and no number is worst."""
    at, best = 0, float("-inf")
    for i, value in enumerate(values):
        if value > best + min_delta or (best == float("-inf") and value > best):
            at, best = i, value
    return at, len(values) - 1 - at
