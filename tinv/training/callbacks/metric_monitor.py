"""Callbacks that follow a number as it is measured, whoever measures it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError

Mode = Literal["auto", "min", "max"]
_OF_THE_LOOP = ("val/", "train/")
"""Numbers that Lightning knows; all others come through `boards.log_metrics`."""


class MetricMonitor(Callback, ABC):
    """Hears of every measurement of one number, once, and of each concept its own where it has one.

    `val/loss` comes after each validation, on every process; what callbacks measure, such as `eval/clip_i`, at once, on
    the processes that measure it.
    """

    def __init__(self, monitor: str | None, mode: Mode, *, setting: str):
        """Args:
        monitor: name of the number.
        mode: whether less is better; `auto` says so of losses.
        setting: the group's name, for messages.

        Raises:
            UserError: there is no number to follow.
        """
        if not monitor:
            raise UserError(f"{setting}.monitor must name a number that the run measures, got null; set val/loss")
        if mode not in ("auto", "min", "max"):
            raise UserError(f"{setting}.mode must be auto, min or max, got {mode}")
        self.monitor, self.setting = monitor, setting
        self.sign = -1 if mode == "min" or (mode == "auto" and "loss" in monitor) else 1
        """Times this, more is better."""

    @abstractmethod
    def hear(self, trainer: Trainer, pl_module: Any, values: Mapping[str, float]) -> None:
        """A new measurement, by the concepts' names."""

    @abstractmethod
    def lacks(self, step: int) -> bool:
        """Whether a step's measurement, if there was one, has not been heard of."""

    def listen(self, trainer: Trainer, pl_module: Any, numbers: Mapping[str, float]) -> None:
        """Pick out what is followed, of numbers that have just been measured."""
        names = {word.name: f"{self.monitor}{word.suffix}" for word in pl_module.learned_tokens}
        found = {name: numbers.get(own, numbers.get(self.monitor)) for name, own in names.items()}
        values = {name: float(value) for name, value in found.items() if value is not None}
        if values:
            self.hear(trainer, pl_module, values)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The numbers of the loop."""
        if self.follows_the_loop and not trainer.sanity_checking:
            self.listen(trainer, pl_module, {name: float(v) for name, v in trainer.callback_metrics.items()})

    @property
    def follows_the_loop(self) -> bool:
        """Whether the number is measured by validation."""
        return self.monitor.startswith(_OF_THE_LOOP)


def spread(trainer: Any, numbers: Mapping[str, float]) -> None:
    """Tell all who listen what a callback has just measured."""
    for callback in trainer.callbacks:
        if isinstance(callback, MetricMonitor) and not callback.follows_the_loop:
            callback.listen(trainer, trainer.lightning_module, numbers)
