"""How often training uses each timestep.

The data yields uniform noise levels in [0, 1), optionally stratified over an optimizer step; a sampler reads them as
quantiles of its own distribution. `val/loss` has fixed levels and uses no sampler.

B samples, T training timesteps.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tinv.diffusion.process import DDPMProcess
from tinv.errors import UserError
from tinv.types import Batch


class TimestepSampler(Protocol):
    """A distribution over timesteps: the options of conf/timestep_sampler."""

    @property
    def stratified(self) -> bool:
        """Whether to stratify the noise levels over the samples of an optimizer step; see `tinv.data.dataset`."""

    def weights(self, process: DDPMProcess) -> Tensor | None:
        """Returns weights [T] float64 in proportion to the frequency of each timestep; None for uniform."""


@dataclass(frozen=True, kw_only=True)
class UniformTimesteps:
    """Every timestep equally often (Ho et al. 2020)."""

    stratified: bool = False
    """Give each sample of an optimizer step its own stratum of the noise schedule, which lowers the variance of the
    step's loss; each sample alone stays uniform. Kingma et al. 2021 (arXiv 2107.00630) draw one offset for all strata;
    with independent offsets, the variance of the mean of n levels is another factor n lower."""

    def weights(self, process: DDPMProcess) -> Tensor | None:
        """Returns None."""
        return None


@dataclass(frozen=True, kw_only=True)
class RangeTimesteps:
    """Only timesteps between two bounds, equally often (ZOODiP 2025, arXiv 2503.14868: 500 to 900)."""

    low: int = 500
    """The first timestep in training. Below about 500 are texture and detail, above are shape and color."""
    high: int = 900
    """One past the last timestep in training; at most the model's number of timesteps, 1000."""
    stratified: bool = False
    """See `UniformTimesteps`."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(
                f"timestep_sampler.low={self.low}, timestep_sampler.high={self.high}: low must be 0 or more, and "
                f"less than high."
            )

    def weights(self, process: DDPMProcess) -> Tensor:
        """Returns 1 inside the bounds, 0 outside.

        Raises:
            UserError: the model has fewer timesteps.
        """
        if self.high > process.num_timesteps:
            raise UserError(f"timestep_sampler.high={self.high}: the model has {process.num_timesteps} timesteps.")
        t_T = torch.arange(process.num_timesteps)
        return ((t_T >= self.low) & (t_T < self.high)).double()


@dataclass(frozen=True, kw_only=True)
class LogSNRTimesteps:
    """Noisy timesteps more often, by the log signal-to-noise ratio (TextBoost, Park et al. 2024, arXiv 2409.08248).

    With Stable Diffusion's schedule 38 % of the samples are below timestep 500, and hardly any below 50.
    """

    stratified: bool = False
    """See `UniformTimesteps`."""

    def weights(self, process: DDPMProcess) -> Tensor:
        """Returns max(log snr) - log snr_t.

        Raises:
            UserError: the schedule has a timestep without signal or without noise.
        """
        a_T = process.alphas_cumprod.detach().cpu().double()
        if not 0 < a_T.min() <= a_T.max() < 1:
            raise UserError(
                "timestep_sampler=logsnr: the model's noise schedule ends in pure noise, so its log SNR is infinite. "
                "Set timestep_sampler=cosine or timestep_sampler=range."
            )
        log_snr_T = torch.logit(a_T)
        return log_snr_T.max() - log_snr_T


@dataclass(frozen=True, kw_only=True)
class CosineTimesteps:
    """Noisy timesteps more often, by half a cosine (ReVersion, Huang et al. 2023, arXiv 2303.13495).

    With strength 0.5, 34 % of the samples are in the cleaner half.
    """

    strength: float = 0.5
    """0 is uniform, 1 excludes the cleanest timestep; the paper has 0.5."""
    stratified: bool = False
    """See `UniformTimesteps`."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"timestep_sampler.strength={self.strength}: must be between 0 and 1; 0.5 is usual.")

    def weights(self, process: DDPMProcess) -> Tensor:
        """Returns 1 - strength cos(pi t / T)."""
        t_T = torch.arange(process.num_timesteps, dtype=torch.float64)
        return 1 - self.strength * torch.cos(t_T * (math.pi / process.num_timesteps))


UNIFORM = UniformTimesteps()


def levels_at_quantiles(quantile_B: Tensor, weights_T: Tensor) -> Tensor:
    """Returns the noise levels [B] in [0, 1) at quantiles of a distribution over timesteps (inverse CDF).

    Args:
        quantile_B: in [0, 1).
        weights_T: of the timesteps, 0 or more each.
    """
    cumulative_T = weights_T.to(quantile_B).cumsum(0)
    t_B = torch.searchsorted(cumulative_T, quantile_B * cumulative_T[-1], right=True).clamp(max=len(weights_T) - 1)
    return (t_B + 0.5) / len(weights_T)


def resample_levels(batch: Batch, weights_T: Tensor | None) -> Batch:
    """Returns the batch with its noise levels read as quantiles; None leaves it unchanged."""
    if weights_T is None:
        return batch
    return Batch(**vars(batch) | {"level": levels_at_quantiles(batch.level, weights_T)})
