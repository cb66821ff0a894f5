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

from tinv.diffusion.process import DDPMProcess, NoiseProcess
from tinv.errors import UserError
from tinv.types import Batch


class TimestepSampler(Protocol):
    """A distribution over timesteps: the options of conf/timestep_sampler."""

    @property
    def stratified(self) -> bool:
        """Whether to stratify the noise levels over the samples of an optimizer step; see `tinv.data.dataset`."""

    def weights(self, process: NoiseProcess) -> Tensor | None:
        """Returns weights [T] float64 in proportion to the frequency of each timestep; None for uniform."""


@dataclass(frozen=True, kw_only=True)
class UniformTimesteps:
    """Every timestep equally often (Ho et al. 2020)."""

    stratified: bool = False
    """Give each sample of an optimizer step its own stratum of the noise schedule, which lowers the variance of the
    step's loss; each sample alone stays uniform. Kingma et al. 2021 (arXiv 2107.00630) draw one offset for all strata;
    with independent offsets, the variance of the mean of n levels is another factor n lower."""

    def weights(self, process: NoiseProcess) -> Tensor | None:
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

    def weights(self, process: NoiseProcess) -> Tensor:
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

    def weights(self, process: NoiseProcess) -> Tensor:
        """Returns max(log snr) - log snr_t.

        Raises:
            UserError: the schedule has a timestep without signal or without noise, or the model is a flow.
        """
        if not isinstance(process, DDPMProcess):
            raise UserError(
                "timestep_sampler=logsnr: a flow-matching model has timesteps without noise, where the log SNR is "
                "infinite. Set timestep_sampler=logit_normal or timestep_sampler=cosine."
            )
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

    def weights(self, process: NoiseProcess) -> Tensor:
        """Returns 1 - strength cos(pi t / T)."""
        t_T = torch.arange(process.num_timesteps, dtype=torch.float64)
        return 1 - self.strength * torch.cos(t_T * (math.pi / process.num_timesteps))


@dataclass(frozen=True, kw_only=True)
class LogitNormalTimesteps:
    """Timesteps in the middle more often: sigmoid(N(mean, std)) (Stable Diffusion 3, Esser et al. 2024, 2403.03206)."""

    logit_mean: float = 0.0
    """Above 0 favors noisy timesteps, as in the paper; diffusers' scripts, which count timesteps from the noisy end,
    have the opposite sign. -1 to 1 are usual."""
    logit_std: float = 1.0
    """Width of the distribution; large values favor both ends."""
    stratified: bool = False
    """See `UniformTimesteps`."""

    def __post_init__(self) -> None:
        if self.logit_std <= 0:
            raise UserError(f"timestep_sampler.logit_std={self.logit_std}: must be above 0; 1 is usual.")

    def weights(self, process: NoiseProcess) -> Tensor:
        """Returns the share of sigmoid(mean + std z), with z standard normal, at each timestep."""
        quantile_N = _quantiles(process)
        return _histogram(torch.sigmoid(self.logit_mean + self.logit_std * torch.special.ndtri(quantile_N)), process)


@dataclass(frozen=True, kw_only=True)
class ModeTimesteps:
    """Timesteps in the middle more often, and none rarely (Stable Diffusion 3, Esser et al. 2024, eq. 20)."""

    mode_scale: float = 1.29
    """0 is uniform; 1.29 is the paper's; below 0 favors both ends."""
    stratified: bool = False
    """See `UniformTimesteps`."""

    def __post_init__(self) -> None:
        if not -1 <= self.mode_scale <= 2 / (math.pi - 2):
            raise UserError(f"timestep_sampler.mode_scale={self.mode_scale}: must be -1 to 1.75; 1.29 is usual.")

    def weights(self, process: NoiseProcess) -> Tensor:
        """Returns the share of 1 - u - scale (cos^2(pi u / 2) - 1 + u), with u uniform, at each timestep."""
        u_N = _quantiles(process)
        return _histogram(1 - u_N - self.mode_scale * (torch.cos(math.pi / 2 * u_N) ** 2 - 1 + u_N), process)


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


def _quantiles(process: NoiseProcess) -> Tensor:
    """Returns evenly spaced quantiles [N] float64, 100 for each timestep."""
    num = 100 * process.num_timesteps
    return (torch.arange(num, dtype=torch.float64) + 0.5) / num


def _histogram(level_N: Tensor, process: NoiseProcess) -> Tensor:
    """Returns the number [T] float64 of noise levels at each timestep."""
    t_N = (level_N * process.num_timesteps).long().clamp(0, process.num_timesteps - 1)
    return torch.bincount(t_N, minlength=process.num_timesteps).double()


def resample_levels(batch: Batch, weights_T: Tensor | None) -> Batch:
    """Returns the batch with its noise levels read as quantiles; None leaves it unchanged."""
    if weights_T is None:
        return batch
    return Batch(**vars(batch) | {"level": levels_at_quantiles(batch.level, weights_T)})
