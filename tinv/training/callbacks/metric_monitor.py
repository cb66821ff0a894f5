"""The base class of callbacks that follow a metric, and the validation that a killed run did not complete."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError
from tinv.training.loggers.csv_logger import CSVLogger

Mode = Literal["auto", "min", "max"]
_LIGHTNING_PREFIXES = ("val/", "train/")
"""Metrics that Lightning logs; callbacks log all others with `logging.log_metrics`."""


class MetricMonitor(Callback, ABC):
    """Receives every measurement of one metric once, separately for each concept where the metric is.

    `val/loss` arrives after each validation, on every process. Metrics that callbacks log, such as `eval/clip_i`,
    arrive at once, on the processes that log them.
    """

    def __init__(self, monitor: str | None, mode: Mode, *, setting: str):
        """Args:
        monitor: name of the metric.
        mode: `min` if lower is better, `max` if higher is; `auto` is `min` for losses, else `max`.
        setting: name of the config group, for error messages.

        Raises:
            UserError: there is no metric to follow.
        """
        if not monitor:
            raise UserError(f"{setting}.monitor=null: must name a metric. Set val/loss.")
        if mode not in get_args(Mode):
            raise UserError(f"{setting}.mode={mode}: must be auto, min or max.")
        self.monitor, self.setting = monitor, setting
        self.sign = -1 if mode == "min" or (mode == "auto" and "loss" in monitor) else 1
        """Factor by which to multiply the metric so that higher is better."""

    @abstractmethod
    def on_metric(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """Handles a new measurement, by the concepts' names."""

    @abstractmethod
    def has_missed(self, step: int) -> bool:
        """Returns whether the callback has received no measurement at a step."""

    def receive(self, trainer: Trainer, pl_module: Any, metrics: Mapping[str, float]) -> None:
        """Passes the monitored values among metrics that were just measured to `on_metric`."""
        names = {token.name: f"{self.monitor}{token.suffix}" for token in pl_module.learned_tokens}
        monitored = {name: metrics.get(metric, metrics.get(self.monitor)) for name, metric in names.items()}
        values = {name: float(value) for name, value in monitored.items() if value is not None}
        if values:
            self.on_metric(trainer, pl_module, values)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Receives the metrics that Lightning logs."""
        if self.is_logged_by_lightning and not trainer.sanity_checking:
            self.receive(trainer, pl_module, {name: float(value) for name, value in trainer.callback_metrics.items()})

    @property
    def is_logged_by_lightning(self) -> bool:
        """Whether the training or validation loop measures the metric, rather than a callback."""
        return self.monitor.startswith(_LIGHTNING_PREFIXES)


def run_missed_validation(trainer: Trainer, csv_loggers: Sequence[CSVLogger]) -> None:
    """Validates now if a validation was due at the step of the checkpoint and a logger or monitor lacks its result."""
    step, interval = trainer.global_step, trainer.val_check_batch
    is_due = step > 0 and bool(interval) and step * trainer.accumulate_grad_batches % (interval or 1) == 0
    is_missing = bool(csv_loggers) and not any(logger.has_value(step, "val/loss") for logger in csv_loggers)
    monitors = [c for c in trainer.callbacks if isinstance(c, MetricMonitor)]  # type: ignore[attr-defined]
    is_missing |= any(monitor.is_logged_by_lightning and monitor.has_missed(step) for monitor in monitors)
    if trainer.strategy.broadcast(is_due and is_missing):
        run_validation(trainer)


def run_validation(trainer: Trainer) -> None:
    """Measures `val/loss` between two training steps without any effect on the training."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    had_run = loop._has_run
    loop.restarting = False
    loop.reset_restart_stage()
    trainer.validating = True
    loop.run()
    trainer.training = True
    loop._has_run = had_run  # otherwise a run with a larger max_steps would consider its training complete
