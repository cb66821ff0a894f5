"""Saves a run after the step in which a signal arrives."""

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tinv.training.callbacks.checkpoints import Checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps


class SignalCallback(Callback):
    """Saves after a signal, and leaves before the next step, when the loggers have received the metrics of this one.

    After each optimizer step all processes check for a signal together, so that they save the same step.
    """

    def __init__(self, *, is_active: bool, setting: str):
        """Args:
        is_active: whether there are signals to handle.
        setting: the name of the callback in the configuration.
        """
        self.is_active = is_active
        self._every = EveryNSteps(1, setting=setting)
        self._priority = 0

    @abstractmethod
    def install_handlers(self) -> None:
        """Replaces Lightning's signal handlers, which save inside a handler or end the run as finished."""

    @abstractmethod
    def received_priority(self) -> int:
        """Returns the priority of the signal that this process has received, 0 if none."""

    @abstractmethod
    def leave(self, trainer: Trainer, state: str) -> None:
        """Ends the training. `state` says what is saved."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self.is_active:
            trainer._signal_connector.register_signal_handlers = self.install_handlers  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._every.reset(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Saves after a signal; the last step of the run is saved in any case."""
        if self.is_active and self._every.is_due(trainer.global_step) and trainer.global_step < trainer.max_steps:
            self._priority = self._highest_priority(trainer)
            if self._priority:
                for callback in trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, Checkpoints):
                        callback.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Leaves between two steps."""
        if self._priority:
            self.leave(trainer, f"saved at step {trainer.global_step}")

    def _highest_priority(self, trainer: Trainer) -> int:
        """Returns the priority of the most urgent signal that any process has received, 0 if none."""
        priority = self.received_priority()
        if trainer.world_size > 1:
            own = torch.tensor(priority, device=trainer.strategy.root_device)
            priority = int(trainer.strategy.reduce(own, reduce_op="max"))
        return priority
