"""Device memory while a run encodes, samples and trains, and seconds a step."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

WARM_UP = 5
"""Steps that are not measured: they select kernels and fill caches."""


class Watch(Callback):
    """Records the peak of each phase; comes after the samples callback, which samples before training starts."""

    def __init__(self, file: str) -> None:
        """Args:
        file: the JSON file, written after the last step.
        """
        self.file, self.step, self.last = Path(file), 0, 0.0
        self.seconds: list[float] = []
        self.peaks: dict[str, dict[str, int] | None] = {}

    def on_fit_start(self, *_: Any) -> None:
        """Encoding has ended."""
        self._peak_of("encoding")

    def on_train_start(self, *_: Any) -> None:
        """The first sampling has ended."""
        self._peak_of("sampling")
        self.last = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Record the time of each optimizer step, and the peak at the last one."""
        if trainer.global_step == self.step:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now, self.step = time.perf_counter(), trainer.global_step
        self.seconds.append(now - self.last)
        self.last = now
        if self.step == trainer.max_steps:
            self._peak_of("training")
            self.file.write_text(json.dumps({"peaks_mib": self.peaks, "seconds": self.seconds[WARM_UP:]}))

    def _peak_of(self, phase: str) -> None:
        """Peaks of allocated and reserved memory since the last call, in MiB."""
        self.peaks[phase] = None
        if torch.cuda.is_available():
            allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            self.peaks[phase] = {"allocated": allocated >> 20, "reserved": reserved >> 20}
            torch.cuda.reset_peak_memory_stats()
