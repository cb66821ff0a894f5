"""Where a run can go on: kilobytes, whole or not at all, and read back before they are trusted."""

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError
from tinv.runs.files import atomic
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.missed_validation import make_up
from tinv.training.callbacks.timing import Stopwatch
from tinv.training.loggers.csv_logger import CSVLogger

_NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")


class Checkpoints(Callback):
    """Writes `checkpoints/step_000500.ckpt` after every n-th optimizer step and after the last one."""

    def __init__(self, dir: Path | str, every_n_steps: int = 500, total_limit: int | None = 3):
        """Args:
        dir: the run's folder.
        every_n_steps: in optimizer steps.
        keep: how many of the newest to keep; None keeps all.
        """
        if total_limit is not None and total_limit < 1:
            raise UserError(
                f"callbacks.checkpoints.total_limit must be 1 or more, got {total_limit}; null keeps all of them"
            )
        self.run_dir = Path(dir)
        self.total_limit = total_limit
        self.stopwatch = Stopwatch()
        self._every = EveryNSteps(every_n_steps, setting="callbacks.checkpoints.every_n_steps")
        self._saved: int | None = None

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return checkpoint_path(self.run_dir, step)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """A run that goes on from a checkpoint writes its metrics on from there, too."""
        self._every.begin(trainer.global_step)
        self._saved = None
        for table in tables(trainer):
            table.rewind(trainer.global_step)
        make_up(trainer, tables(trainer))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Going on from where a run was stopped early, Lightning counts that step twice for the loggers."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps, and when the run is complete: the loop is then as it is in the middle of a run."""
        is_due = self._every.due(trainer.global_step)
        if is_due or (trainer.global_step == trainer.max_steps != self._saved):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """A run that was told to stop early."""
        if trainer.global_step != self._saved and not self.path(trainer.global_step).exists():
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint of a step that has just been made, unless it is there; takes every process."""
        path = self.path(trainer.global_step)
        if trainer.global_step == self._saved:
            return
        with self.stopwatch("saving"):
            if trainer.is_global_zero:
                for table in tables(trainer):
                    table.log_metrics(_numbers_to_come(trainer), step=trainer.global_step - 1)
                    table.flush()
                with atomic(path) as draft:
                    draft.touch()  # says at once, and in words, when the folder cannot be written to
                    trainer.save_checkpoint(draft, weights_only=False)
                self._prune()
            else:
                trainer.save_checkpoint(path, weights_only=False)  # takes every process, writes on the first one
        self._saved = trainer.global_step

    def _prune(self) -> None:
        if self.total_limit is not None:  # newest first
            for path in list_checkpoints(self.run_dir)[self.total_limit :]:
                path.unlink(missing_ok=True)


def tables(trainer: Trainer) -> list[CSVLogger]:
    """Those of the run's loggers that write `metrics.csv`."""
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]


def _numbers_to_come(trainer: Any) -> dict[str, float]:
    """What Lightning logs of this step, but only after this hook: a run killed in between must not lose it."""
    interval = trainer.log_every_n_steps
    if interval == 0 or trainer.global_step % interval:
        return {}
    return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}


def verify(path: Path) -> None:
    """Read a checkpoint to its last byte.

    Raises:
        UserError: it is missing, cut short, altered, or no checkpoint of a training run.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}; resume=latest takes the newest one that there is")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {path} cannot be read (is it cut short?); resume from another one") from error
    missing = [key for key in _NEEDED if key not in content] if isinstance(content, dict) else _NEEDED
    if damaged or missing:
        reason = f"{damaged} in it is damaged" if damaged else f"it has no {', '.join(missing)}"
        raise UserError(f"the checkpoint {path} cannot be resumed from ({reason}); resume from another one")


def newest_valid(paths: Iterable[Path]) -> Path:
    """The checkpoint of the highest step that verifies; those passed over are warned of.

    Raises:
        UserError: none does.
    """
    tried = sorted(paths, key=checkpoint_step, reverse=True)
    for path in tried:
        try:
            verify(path)
        except UserError as error:
            warnings.warn(f"passed over: {error}", stacklevel=2)
        else:
            return path
    raise UserError(f"none of {len(tried)} checkpoints can be resumed from; leave out resume to begin again")
