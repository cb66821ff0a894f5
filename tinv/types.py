"""The values that pass between the floors, and the protocols they meet through.

B batch, C latent channels, H W picture height and width, h w latent height and width, L tokens in a prompt,
D width of the text encoder, K vectors of a concept, V words of the vocabulary, T training timesteps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Vectors = Mapping[str, Mapping[str, Tensor]]
"""Learned rows by placeholder, then by text encoder: {"<cat-toy>": {"clip_l": [K, D]}}, float32.

A word that has parts has rows for each of them: {"<cat-toy>": {"clip_l/stage.0": [K, D], ...}}; see tinv/token_parts.py."""


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on another device, without waiting for what that is still computing.

    CUDA has put ordinary memory aside when the call returns. Apple's devices have not, and are waited for.
    """
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


class Batch:
    """One micro-batch of the run.

    A plain class on purpose: under `bf16-true` Lightning rewrites every tensor that it finds in a dataclass or a
    tuple, and would round the noise levels.
    """

    def __init__(
        self,
        *,
        moments: Tensor,
        captions: Sequence[str],
        geometry: Tensor,
        level: Tensor,
        noise_seeds: Tensor,
        index: Tensor,
        mask: Tensor | None = None,
    ):
        """Args:
        moments: [B, 2C, h, w], mean and log-variance of each picture's latent distribution, not yet scaled.
        captions: B texts with the placeholder word filled in.
        geometry: [B, 6], original height and width, top and left of the crop, target height and width, in pixels.
        level: [B] in [0, 1), where in the noise schedule each sample is taken, 0 the least noise; float64.
        noise_seeds: [B] int64, the seed of each example's posterior sample and noise.
        index: [B] int64, which of the training pictures it is.
        mask: [B, 1, h, w] weights of the loss, or None for an unweighted one.
        """
        self.moments, self.captions, self.geometry = moments, captions, geometry
        self.level, self.noise_seeds, self.index, self.mask = level, noise_seeds, index, mask

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on another device, except noise_seeds: they seed generators on the CPU."""
        moved: dict[str, Any] = {
            name: to_device(value, device) if isinstance(value, Tensor) and name != "noise_seeds" else value
            for name, value in vars(self).items()
        }
        return Batch(**moved)

    def __len__(self) -> int:
        return len(self.captions)


def by_concept(batch: Batch | Sequence[Batch | None]) -> list[Batch | None]:
    """What a step shows of each concept; None where there is nothing left of one."""
    return [batch] if isinstance(batch, Batch) else list(batch)


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is told about a caption."""

    hidden: Tensor
    """[B, L, D]: the text encoder's last hidden state."""
    pooled: Tensor | None = None
    """[B, D]: one vector a caption, for the models that want it."""


@dataclass(frozen=True)
class NoiseSchedule:
    """The forward process that the frozen model was trained with."""

    alphas_cumprod: Tensor
    """[T] float32: the signal's share of the power, falling with t."""
    prediction_type: str
    """`epsilon` or `v_prediction`: what the denoiser's output means."""


class OptimizerFactory(Protocol):
    """An optimizer that lacks only its parameters: a `_partial_` node of conf/optimizer."""

    def __call__(self, params: Iterable[Any], **settings: Any) -> torch.optim.Optimizer:
        """Build it over parameters or parameter groups; `settings` win over those that it has."""


class SchedulerFactory(Protocol):
    """A learning-rate schedule that lacks only its optimizer: a `_partial_` node of conf/scheduler."""

    def __call__(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Build it over an optimizer."""
