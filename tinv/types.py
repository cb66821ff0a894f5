"""The values that the packages pass to each other.

B batch, h w latent height and width, L tokens in a prompt, D width of the text encoder, K vectors of a token,
T training timesteps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Vectors = Mapping[str, Mapping[str, Tensor]]
"""Learned vectors by placeholder token, then by text encoder: {"<cat-toy>": {"clip_l": [K, D]}}, float32.

A token with parts has vectors for each: {"<cat-toy>": {"clip_l/stage.0": [K, D], ...}}; see tinv/token_parts.py."""


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a tensor to another device, without waiting for the device where that is safe.

    CUDA has copied pageable memory when the call returns. Apple's devices have not, so the call waits for them.
    """
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


class Batch:
    """One micro-batch of the run.

    Deliberately no dataclass: under `bf16-true` Lightning casts every tensor in a dataclass or a tuple, and would round
    the noise levels.
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
        moments: [B, 2C, h, w], mean and log-variance of each image's latent distribution, unscaled.
        captions: B texts with the placeholder token.
        geometry: [B, 6], original height and width, top and left of the crop, target height and width, in pixels.
        level: [B] float64 in [0, 1), each example's position in the noise schedule; 0 is the least noise.
        noise_seeds: [B] int64, the seed of each example's posterior sample and noise.
        index: [B] int64, the number of the training image.
        mask: [B, 1, h, w], weights of the loss; None is an unweighted loss.
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


def split_by_concept(batch: Batch | Sequence[Batch | None]) -> list[Batch | None]:
    """The batch of each concept; None for a concept without remaining examples."""
    return [batch] if isinstance(batch, Batch) else list(batch)


@dataclass(frozen=True)
class Conditioning:
    """The text features that condition the denoiser."""

    hidden: Tensor
    """[B, L, D]: a hidden state of the text encoder."""
    pooled: Tensor | None = None
    """[B, D]: one vector per caption, for the models that need it."""
    mask: Tensor | None = None
    """[B, L]: above 0 for the tokens that the denoiser attends to, 0 for padding; None is all tokens."""


class OptimizerFactory(Protocol):
    """An optimizer without its parameters: a `_partial_` node of conf/optimizer."""

    def __call__(self, params: Iterable[Any], **settings: Any) -> torch.optim.Optimizer:
        """Build it for parameters or parameter groups; `settings` override those of the node."""


class SchedulerFactory(Protocol):
    """A learning-rate schedule without its optimizer: a `_partial_` node of conf/scheduler."""

    def __call__(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Build it for an optimizer."""
