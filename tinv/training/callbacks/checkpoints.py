"""Training checkpoints: a few kilobytes, and when they are written."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import require_minimum
from tinv.runs.checkpoint_digest import find_damage
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.metric_monitor import run_missed_validation
from tinv.training.callbacks.timing import Stopwatch
from tinv.training.checkpoint_io import VerifiedCheckpointIO
from tinv.training.loggers.csv_logger import csv_loggers

METRICS_KEY = "metrics_csv"
"""Entry of a checkpoint: what metrics.csv contained when it was written."""


class Checkpoints(Callback):
    """Writes `checkpoints/step_000500.ckpt` every n optimizer steps and after the last one."""

    def __init__(self, dir: Path | str, every_n_steps: int = 500, total_limit: int | None = 3):
        """Args:
        every_n_steps: interval in optimizer steps.
        total_limit: number of checkpoints to keep, the newest; None keeps all.
        """
        require_minimum("callbacks.checkpoints.total_limit", total_limit, 1, "null keeps all.")
        self.run_dir, self.total_limit, self.stopwatch = Path(dir), total_limit, Stopwatch()
        self._every = EveryNSteps(every_n_steps, setting="callbacks.checkpoints.every_n_steps")
        self._saved_step: int | None = None
        self._saved_metrics: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Makes the trainer write and read every checkpoint with a digest."""
        trainer.strategy.checkpoint_io = VerifiedCheckpointIO()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Adds a digest of metrics.csv, which shows missing rows when a run resumes."""
        for logger in csv_loggers(trainer):
            checkpoint[METRICS_KEY] = logger.digest(before=trainer.global_step - 1)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keeps that digest if the checkpoint is one of this run folder."""
        folder = Path(trainer.ckpt_path or "").absolute().parent.parent
        self._saved_metrics = checkpoint.get(METRICS_KEY) if folder == self.run_dir.absolute() else None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Removes metrics that were logged after the checkpoint of a resumed run, and adds a missing validation."""
        self._every.reset(trainer.global_step)
        self._saved_step = None
        for logger in csv_loggers(trainer):
            if self._saved_metrics:
                logger.warn_of_differences(self._saved_metrics, before=trainer.global_step - 1)
            logger.rewind(trainer.global_step)
        run_missed_validation(trainer, csv_loggers(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Corrects Lightning's step counter for loggers, which is one too high after an early stop is resumed."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Saves every n steps and after the last step, while the loop is in the state of an unfinished run."""
        if self._every.is_due(trainer.global_step) or trainer.global_step == trainer.max_steps != self._saved_step:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Saves the last step of a run that was stopped early."""
        if trainer.global_step != self._saved_step and find_damage(checkpoint_path(self.run_dir, trainer.global_step)):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint of the current step unless it exists. Every process must call it."""
        path = checkpoint_path(self.run_dir, trainer.global_step)
        if trainer.global_step == self._saved_step:
            return
        with self.stopwatch("saving"):
            if trainer.is_global_zero:
                for logger in csv_loggers(trainer):
                    logger.log_metrics(_metrics_not_yet_logged(trainer), step=trainer.global_step - 1)
                    logger.flush()
            trainer.save_checkpoint(path, weights_only=False)
            if trainer.is_global_zero and self.total_limit is not None:
                for old in self._until(trainer.global_step)[self.total_limit :]:
                    old.unlink(missing_ok=True)
        self._saved_step = trainer.global_step

    def _until(self, step: int) -> list[Path]:
        """Returns the checkpoints up to a step, newest first; a damaged one that the run passed over is after it."""
        return [path for path in list_checkpoints(self.run_dir) if checkpoint_step(path) <= step]


def _metrics_not_yet_logged(trainer: Any) -> dict[str, float]:
    """Returns what Lightning logs of this step after this hook, so that a run killed in between does not lose it."""
    if trainer.log_every_n_steps == 0 or trainer.global_step % trainer.log_every_n_steps:
        return {}
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
