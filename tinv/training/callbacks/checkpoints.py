"""Training checkpoints: a few kilobytes, written atomically, verified before a run resumes from one."""

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError, require_minimum
from tinv.runs.files import write_atomically
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.metric_monitor import run_missed_validation
from tinv.training.callbacks.timing import Stopwatch
from tinv.training.loggers.csv_logger import csv_loggers

_REQUIRED_KEYS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")


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

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Removes metrics that were logged after the checkpoint of a resumed run, and adds a missing validation."""
        self._every.reset(trainer.global_step)
        self._saved_step = None
        for logger in csv_loggers(trainer):
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
        if trainer.global_step != self._saved_step and not checkpoint_path(self.run_dir, trainer.global_step).exists():
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
                with write_atomically(path) as temporary:
                    temporary.touch()  # raises a UserError at once if the folder is not writable
                    trainer.save_checkpoint(temporary, weights_only=False)
                if self.total_limit is not None:
                    for old in list_checkpoints(self.run_dir)[self.total_limit :]:  # newest first
                        old.unlink(missing_ok=True)
            else:
                trainer.save_checkpoint(path, weights_only=False)  # a collective call; only the first process writes
        self._saved_step = trainer.global_step


def _metrics_not_yet_logged(trainer: Any) -> dict[str, float]:
    """Returns what Lightning logs of this step after this hook, so that a run killed in between does not lose it."""
    if trainer.log_every_n_steps == 0 or trainer.global_step % trainer.log_every_n_steps:
        return {}
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}


def verify(path: Path) -> None:
    """Reads a checkpoint completely.

    Raises:
        UserError: the file is missing, truncated, altered, or not a checkpoint of a training run.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; resume=latest takes the newest one")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"checkpoint {path} cannot be read (is it truncated?); resume from another one") from error
    missing = [key for key in _REQUIRED_KEYS if key not in content] if isinstance(content, dict) else _REQUIRED_KEYS
    if damaged or missing:
        reason = f"{damaged} in it is damaged" if damaged else f"it has no {', '.join(missing)}"
        raise UserError(f"checkpoint {path} is not usable ({reason}); resume from another one")


def newest_valid(paths: Iterable[Path]) -> Path:
    """Returns the checkpoint of the highest step that can be read; warns about those that cannot.

    Raises:
        UserError: none can be read.
    """
    candidates = sorted(paths, key=checkpoint_step, reverse=True)
    for path in candidates:
        try:
            verify(path)
            return path
        except UserError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
    raise UserError(f"none of {len(candidates)} checkpoints is usable; omit resume to start again")
