"""A measurement that a killed run did not get to: its checkpoint is older by a moment."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer

from tinv.training.callbacks.metric_monitor import MetricMonitor
from tinv.training.loggers.csv_logger import CSVLogger


def make_up(trainer: Trainer, tables: Sequence[CSVLogger]) -> None:
    """Measure `val/loss` now, if it was due at the step that the run goes on from, and somebody has missed it.

    Args:
        trainer: about to go on.
        tables: of the run.
    """
    step, interval = trainer.global_step, trainer.val_check_batch
    is_due = step > 0 and bool(interval) and step * trainer.accumulate_grad_batches % (interval or 1) == 0
    if trainer.strategy.broadcast(is_due and (_is_not_written(tables, step) or _is_not_heard(trainer, step))):
        measure(trainer)


def measure(trainer: Trainer) -> None:
    """Measure `val/loss` between two steps; the training goes on as if nothing had been."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    had_run = loop._has_run
    loop.restarting = False
    loop.reset_restart_stage()
    trainer.validating = True
    loop.run()
    trainer.training = True
    loop._has_run = had_run  # or a run that is made longer would take its training for done


def _is_not_written(tables: Sequence[CSVLogger], step: int) -> bool:
    return bool(tables) and not any(table.has(step, "val/loss") for table in tables)


def _is_not_heard(trainer: Any, step: int) -> bool:
    listeners = [callback for callback in trainer.callbacks if isinstance(callback, MetricMonitor)]
    return any(callback.follows_the_loop and callback.lacks(step) for callback in listeners)
