"""Saves the run and ends it between two steps after SIGTERM or Ctrl-C, outside of a Slurm job."""

import signal
from typing import Any, NoReturn

from lightning.pytorch import Trainer

from tinv.errors import RunInterrupted
from tinv.runs import signals
from tinv.runs.slurm_job import current_job
from tinv.training.callbacks.signal_callback import SignalCallback


class StopOnSignal(SignalCallback):
    """Defers the signals that `tinv.runs.signals` handles to the end of a step, while the run trains."""

    def __init__(self) -> None:
        is_active = signals.is_handling() and not current_job()
        super().__init__(is_active=is_active, setting="callbacks.stop_on_signal")

    def install_handlers(self) -> None:
        """Does nothing, because the handlers of `train.py` stay."""

    def received_priority(self) -> int:
        """Returns the number of the signal."""
        return int(signals.received_signal() or 0)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        signals.defer(self.is_active)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leaves after the last step too: what follows it, such as an upload, may take long."""
        signals.defer(False)
        if self.is_active and (number := signals.received_signal()):
            raise RunInterrupted(number)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        signals.defer(False)

    def leave(self, trainer: Trainer, state: str) -> NoReturn:
        """Raises the exception that ends the run."""
        raise RunInterrupted(signal.Signals(self._priority))
