"""How often training shows each timestep, and how evenly an optimizer step covers them.

Every sample draws a share in [0, 1) evenly; what is here turns shares into levels of the noise schedule. `val/loss`
does not go through here: its levels are fixed.

B samples, T training timesteps.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.types import Batch


class TimestepSampler(Protocol):
    """The options of conf/timestep_sampler."""

    @property
    def stratified(self) -> bool:
        """Whether the samples of an optimizer step share the schedule out among them; see `tinv.data.dataset`."""

    def weights(self, alphas_cumprod_T: Tensor) -> Tensor | None:
        """How often each timestep comes, [T] float64, in any unit; None is each as often as the others."""


@dataclass(frozen=True, kw_only=True)
class UniformTimesteps:
    """Every timestep as often as the others (Ho et al. 2020)."""

    stratified: bool = False
    """Deal the samples of an optimizer step a stratum each, so that together they cover the schedule. Each alone is as
    likely anywhere as before; the loss of a step varies less. After Kingma et al. 2021 (arXiv 2107.00630), who draw one
    offset for all strata: with an offset each, the mean of n levels varies n times less again."""

    def weights(self, alphas_cumprod_T: Tensor) -> Tensor | None:
        """None: all alike."""
        return None


@dataclass(frozen=True, kw_only=True)
class RangeTimesteps:
    """Timesteps between two bounds alone, each as often as the others (ZOODiP 2025, arXiv 2503.14868: 500 to 900)."""

    low: int = 500
    """The first timestep that is trained on. Below some 500 are texture and detail, above are shape and colour."""
    high: int = 900
    """The first timestep that is not, at most the model's number of timesteps, 1000."""
    stratified: bool = False
    """See `Uniform`."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(
                f"timestep_sampler.low must be 0 or more and less than timestep_sampler.high, got low={self.low} and high={self.high}"
            )

    def weights(self, alphas_cumprod_T: Tensor) -> Tensor:
        """1 inside the bounds, 0 outside.

        Raises:
            UserError: the model has fewer timesteps.
        """
        count = len(alphas_cumprod_T)
        if self.high > count:
            raise UserError(f"timestep_sampler.high must be at most the model's {count} timesteps, got {self.high}")
        t_T = torch.arange(count)
        return ((t_T >= self.low) & (t_T < self.high)).double()


@dataclass(frozen=True, kw_only=True)
class LogSNRTimesteps:
    """Timesteps in proportion to how far their log signal-to-noise ratio lies below that of the cleanest one.

    TextBoost (Park et al. 2024, arXiv 2409.08248). With Stable Diffusion's schedule 38 % of the samples lie below
    timestep 500, and hardly any below 50.
    """

    stratified: bool = False
    """See `Uniform`."""

    def weights(self, alphas_cumprod_T: Tensor) -> Tensor:
        """max(log snr) - log snr_t, with snr = a_t / (1 - a_t)."""
        a_T = alphas_cumprod_T.detach().cpu().double()
        if not 0 < a_T.min() <= a_T.max() < 1:
            raise UserError(
                "timestep_sampler=logsnr needs a schedule that keeps some signal and some noise everywhere, and the model's "
                "ends in pure noise; take timestep_sampler=cosine or timestep_sampler=range"
            )
        log_snr_T = torch.logit(a_T)
        return log_snr_T.max() - log_snr_T


@dataclass(frozen=True, kw_only=True)
class CosineTimesteps:
    """Noisy timesteps more often, along 1 - strength cos(pi t / T) (ReVersion, Huang et al. 2023, arXiv 2303.13495).

    With strength 0.5, 34 % of the samples lie in the cleaner half.
    """

    strength: float = 0.5
    """0 is uniform, 1 leaves the cleanest timestep out; 0.5 is the paper's."""
    stratified: bool = False
    """See `Uniform`."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"timestep_sampler.strength must be 0 to 1, got {self.strength}; 0.5 is usual")

    def weights(self, alphas_cumprod_T: Tensor) -> Tensor:
        """1 - strength cos(pi t / T)."""
        count = len(alphas_cumprod_T)
        return 1 - self.strength * torch.cos(torch.arange(count, dtype=torch.float64) * (math.pi / count))


UNIFORM = UniformTimesteps()


def levels_at_quantiles(share_B: Tensor, weights_T: Tensor) -> Tensor:
    """Levels [B] in [0, 1): where the timesteps lie that shares of the total weight reach.

    Args:
        share_B: in [0, 1); spread evenly, they give each timestep in proportion to its weight.
        weights_T: 0 or more each.
    """
    total_T = weights_T.to(share_B).cumsum(0)
    t_B = torch.searchsorted(total_T, share_B * total_T[-1], right=True).clamp(max=len(weights_T) - 1)
    return (t_B + 0.5) / len(weights_T)


def resample_levels(batch: Batch, weights_T: Tensor | None) -> Batch:
    """The batch at the timesteps that training is to show: its levels taken as shares; None leaves them."""
    if weights_T is None:
        return batch
    return Batch(**vars(batch) | {"level": levels_at_quantiles(batch.level, weights_T)})
