"""The noise schedule of a frozen model, wherever it runs."""

from dataclasses import replace
from typing import Any

import torch

from tinv.types import NoiseSchedule


class Schedule:
    """Keeps the noise schedule where the denoiser is; no buffer, so it stays float32 in every precision."""

    def __init__(self, scheduler: Any):
        """Args:
        scheduler: a diffusers scheduler with `alphas_cumprod`.
        """
        self._schedule = NoiseSchedule(scheduler.alphas_cumprod.float(), scheduler.config.prediction_type)

    def on(self, device: torch.device) -> NoiseSchedule:
        """The schedule with its numbers on a device."""
        if self._schedule.alphas_cumprod.device != device:
            self._schedule = replace(self._schedule, alphas_cumprod=self._schedule.alphas_cumprod.to(device))
        return self._schedule
