"""What a run takes while it encodes, samples and trains: device memory, and seconds a step."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback

WARM_UP = 5
"""Steps that are not counted: the first ones choose kernels and fill caches."""


class Watch(Callback):
    """Notes the peak of each phase; comes after the samples, whose first sheet is drawn before training starts."""

    def __init__(self, file: str) -> None:
        """Args:
        file: JSON is written there after the last step.
        """
        self.file, self.step, self.last = Path(file), 0, 0.0
        self.seconds: list[float] = []
        self.peaks: dict[str, dict[str, int] | None] = {}

    def on_fit_start(self, *_: Any) -> None:
        """The pictures are encoded."""
        self._peak_of("encoding")

    def on_train_start(self, *_: Any) -> None:
        """The first samples are drawn."""
        self._peak_of("sampling")
        self.last = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Note the time whenever the optimizer has stepped, and the peak with the last step."""
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
        """What torch's tensors took at most since the last look, and what torch held of the device for them."""
        self.peaks[phase] = None
        if torch.cuda.is_available():
            taken, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            self.peaks[phase] = {"allocated": taken >> 20, "reserved": held >> 20}
            torch.cuda.reset_peak_memory_stats()
