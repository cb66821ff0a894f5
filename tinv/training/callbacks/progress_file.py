"""progress.json: the step, speed, loss, time and memory of a run, for `tinv status` and `tinv ui`."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback, Trainer

from tinv.errors import UserError, require_minimum
from tinv.runs.files import write_json
from tinv.runs.layout import PROGRESS
from tinv.runs.reader import RunReader
from tinv.runs.status import TIME_FORMAT

MAX_TIMELINE = 400
"""Entries of the timeline; at this number, every second one is dropped."""


class ProgressFile(Callback):
    """Writes the file at the start of the training, at intervals during it, and at its end."""

    def __init__(self, dir: Path | str, every_s: float = 10.0):
        """every_s: seconds between two writes."""
        require_minimum("callbacks.progress_file.every_s", every_s, 0)
        self.path, self.every_s = Path(dir) / PROGRESS, every_s
        self._first_step, self._start_time, self._write_time = 0, 0.0, 0.0
        self._timeline: list[list[float]] = []
        self._earlier_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Starts measuring the speed of this session."""
        self._first_step, self._start_time = trainer.global_step, monotonic()
        earlier = RunReader(self.path.parent).progress if self._first_step else None
        entries = [entry for entry in (earlier.timeline if earlier else []) if len(entry) == 2]
        self._timeline = [[step, seconds] for step, seconds in entries if step <= self._first_step]
        self._earlier_seconds = self._timeline[-1][1] if self._timeline else 0.0
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
        self._add_time(step)
        progress = {
            "step": step,
            "max_steps": max_steps,
            "steps_per_s": round(rate, 3),
            "seconds_left": round((max_steps - step) / rate) if rate else None,
            "loss": None if loss is None or not loss.isfinite() else round(float(loss), 6),
            "written_at": f"{datetime.now(UTC):{TIME_FORMAT}}",
            "timeline": self._timeline,
            "memory_gb": _measure_memory(),
        }
        write_json(self.path, progress)

    def _add_time(self, step: int) -> None:
        """Adds the seconds of training before a step, unless the step has them."""
        if not self._timeline or step > self._timeline[-1][0]:
            self._timeline.append([step, round(self._earlier_seconds + self._write_time - self._start_time, 1)])
        if len(self._timeline) >= MAX_TIMELINE:
            del self._timeline[1:-1:2]


def _measure_memory() -> dict[str, float]:
    """Returns the memory of this process, and the largest of its tensors on a GPU, in units of 1e9 bytes."""
    memory = {"process": psutil.Process().memory_info().rss}
    if torch.cuda.is_initialized():
        memory["gpu"] = torch.cuda.max_memory_allocated()
    return {name: round(count / 1e9, 3) for name, count in memory.items()}
