"""The base class of callbacks that follow a metric."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError

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
        if mode not in ("auto", "min", "max"):
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
