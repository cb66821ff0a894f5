"""The noise process of flow-matching models: a straight line from latents to noise.

B batch, C latent channels, H W latent height and width, T training timesteps; s = t / T is the share of noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class FlowProcess:
    """Rectified flow (Lipman et al. 2022, arXiv 2210.02747; Esser et al. 2024, arXiv 2403.03206)."""

    shift: Callable[[tuple[int, int]], float]
    """The scheduler's shift for latents of a height and width, above 0; more than 1 favors noisy timesteps."""
    num_timesteps: int = 1000
    """T, the timestep of pure noise."""
    prediction_type: str = "flow"
    """The denoiser predicts the velocity, noise - x."""

    def to(self, device: torch.device | str) -> Self:
        """Returns the process itself, which has no tensors."""
        return self

    def timesteps(self, level_B: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the timesteps [B] float32 in [0, T) of noise levels in [0, 1): s = shift l / (1 + (shift - 1) l).

        Equally frequent levels are as frequent as the steps of the scheduler (Esser et al. 2024, eq. 23).
        """
        shift = self.shift(size)
        return (shift * level_B / (1 + (shift - 1) * level_B) * self.num_timesteps).float()

    def add_noise(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns noisy latents [B, C, H, W]: (1 - s) x + s noise.

        Args:
            clean_BCHW: latents x, scaled and shifted as the VAE's configuration says.
            noise_BCHW: standard normal noise.
            t_B: timesteps in [0, T].
        """
        s_B111 = self._share(t_B).view(-1, 1, 1, 1)
        return ((1 - s_B111) * clean_BCHW + s_B111 * noise_BCHW).to(clean_BCHW.dtype)

    def target(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns the velocity [B, C, H, W], noise - x, which is the same at every timestep."""
        return noise_BCHW - clean_BCHW

    def min_snr_weights(self, t_B: Tensor, gamma: float) -> Tensor:
        """Returns min((1 - s)^2, gamma s^2) [B]: the objective of min-SNR-gamma for epsilon, `DDPMProcess`.

        An error in the velocity is 1 / (1 - s) times the error in epsilon that leads to the same image, and
        snr = (1 - s)^2 / s^2.
        """
        s_B = self._share(t_B)
        return torch.minimum((1 - s_B) ** 2, gamma * s_B**2)

    def snr_power_weights(self, t_B: Tensor, power: float) -> Tensor:
        """Returns (1 - s)^(2 - 2 power) s^(2 power) [B]: the objective of snr ** -power for epsilon, `DDPMProcess`.

        Debiased estimation, power 1/2, is s (1 - s).
        """
        s_B = self._share(t_B)
        return (1 - s_B) ** (2 - 2 * power) * s_B ** (2 * power)

    def sd3_weights(self, t_B: Tensor, weighting_scheme: str) -> Tensor:
        """Returns the loss weights [B] of diffusers' training scripts (Esser et al. 2024, sections 2 and 3.1).

        `sigma_sqrt` is s^-2, which favors clean timesteps; `cosmap` is 2 / (pi (1 - 2 s + 2 s^2)), which favors those
        in the middle. s is 1 / T at least, as in the scheduler.
        """
        from diffusers.training_utils import compute_loss_weighting_for_sd3  # takes seconds

        weights_B: Tensor = compute_loss_weighting_for_sd3(
            weighting_scheme, self._share(t_B).clamp(min=1 / self.num_timesteps)
        )
        return weights_B

    def _share(self, t_B: Tensor) -> Tensor:
        return t_B.float() / self.num_timesteps
