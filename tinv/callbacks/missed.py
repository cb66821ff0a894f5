"""A measurement that a killed run did not get to: its checkpoint is older by a moment."""

from collections.abc import Sequence

from lightning.pytorch import Trainer

from tinv.logger import MetricsFile


def make_up(trainer: Trainer, tables: Sequence[MetricsFile]) -> None:
    """Measure `val/loss` now, if it was due at the step that the run goes on from, and no table has it.

    Args:
        trainer: about to go on.
        tables: of the run.
    """
    step, interval = trainer.global_step, trainer.val_check_batch
    is_due = step > 0 and bool(interval) and step * trainer.accumulate_grad_batches % (interval or 1) == 0
    is_missed = is_due and bool(tables) and not any(table.has(step, "val/loss") for table in tables)
    if trainer.strategy.broadcast(is_missed):
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.restarting = False
        loop.reset_restart_stage()
        trainer.validating = True
        loop.run()
        trainer.training = True
