"""progress.json: how far a run is, for whoever looks at its folder from elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.layout import PROGRESS
from tinv.runs.status import TIME_FORMAT


class ProgressFile(Callback):
    """Writes the file when training starts, every few seconds while it goes on, and at its end."""

    def __init__(self, dir: Path | str, every_s: float = 10.0):
        """Args:
        dir: the run's folder.
        every_s: seconds between two writes.
        """
        if every_s < 0:
            raise UserError(
                f"callbacks.progress_file.every_s must be 0 or more, got {every_s}; ~callbacks.progress_file removes it"
            )
        self.path, self.every_s = Path(dir) / PROGRESS, every_s
        self._first_step, self._began_at, self._written_at = 0, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The rate is that of the session."""
        self._first_step, self._began_at = trainer.global_step, monotonic()
        self._write(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Once in a while."""
        if monotonic() - self._written_at >= self.every_s:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The last one."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self._written_at = monotonic()
        step, max_steps = trainer.global_step, trainer.max_steps
        rate = (step - self._first_step) / max(self._written_at - self._began_at, 1e-6)
        loss = trainer.callback_metrics.get("train/loss")
        told = {
            "step": step,
            "max_steps": max_steps,
            "steps_per_s": round(rate, 3),
            "seconds_left": round((max_steps - step) / rate) if rate else None,
            "loss": None if loss is None or not loss.isfinite() else round(float(loss), 6),
            "written_at": f"{datetime.now(UTC):{TIME_FORMAT}}",
        }
        write_json(self.path, told)
