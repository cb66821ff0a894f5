"""progress.json: the step, speed and loss of a run, for `tinv status`."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError, require_minimum
from tinv.runs.files import write_json
from tinv.runs.layout import PROGRESS
from tinv.runs.status import TIME_FORMAT


class ProgressFile(Callback):
    """Writes the file at the start of the training, at intervals during it, and at its end."""

    def __init__(self, dir: Path | str, every_s: float = 10.0):
        """every_s: seconds between two writes."""
        require_minimum("callbacks.progress_file.every_s", every_s, 0)
        self.path, self.every_s = Path(dir) / PROGRESS, every_s
        self._first_step, self._start_time, self._write_time = 0, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts measuring the speed of this session."""
        self._first_step, self._start_time = trainer.global_step, monotonic()
        self._write(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Writes the file if the last write is long enough ago."""
        if monotonic() - self._write_time >= self.every_s:
            self._write(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Writes the file, so that a run that is killed later has at least the step that it resumes from."""
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Writes the last step, unless the run failed or was interrupted before it trained."""
        if self._start_time:
            with suppress(UserError):  # a full disk may be what ended the run
                self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self._write_time = monotonic()
        step, max_steps = trainer.global_step, trainer.max_steps
        rate = (step - self._first_step) / max(self._write_time - self._start_time, 1e-6)
        loss = trainer.callback_metrics.get("train/loss")
        progress = {
            "step": step,
            "max_steps": max_steps,
            "steps_per_s": round(rate, 3),
            "seconds_left": round((max_steps - step) / rate) if rate else None,
            "loss": None if loss is None or not loss.isfinite() else round(float(loss), 6),
            "written_at": f"{datetime.now(UTC):{TIME_FORMAT}}",
        }
        write_json(self.path, progress)
