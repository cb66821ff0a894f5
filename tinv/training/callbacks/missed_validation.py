"""Repeats a validation that a killed run did not complete after it had written the checkpoint of that step."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer

from tinv.training.callbacks.metric_monitor import MetricMonitor
from tinv.training.loggers.csv_logger import CSVLogger


def run_missed_validation(trainer: Trainer, csv_loggers: Sequence[CSVLogger]) -> None:
    """Validates now if a validation was due at the step of the checkpoint and a logger or monitor lacks its result.

    Args:
        trainer: trainer of a run that resumes from a checkpoint.
        csv_loggers: loggers of the run that write metrics.csv.
    """
    step, interval = trainer.global_step, trainer.val_check_batch
    is_due = step > 0 and bool(interval) and step * trainer.accumulate_grad_batches % (interval or 1) == 0
    is_missing = bool(csv_loggers) and not any(logger.has_value(step, "val/loss") for logger in csv_loggers)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    is_missing |= any(
        callback.is_logged_by_lightning and callback.has_missed(step)
        for callback in callbacks
        if isinstance(callback, MetricMonitor)
    )
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
