"""The noise process of a model: how latents are noised, what the denoiser predicts, and the signal-to-noise ratio.

`DDPMProcess` is that of Stable Diffusion 1, 2 and XL; flow.py has that of the newer models.

B batch, C latent channels, H W latent height and width, T training timesteps.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from tinv.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction")


class NoiseProcess(Protocol):
    """What training asks of a noise process. Timesteps are 0 (least noise) to T, in the unit of the denoiser's own."""

    @property
    def prediction_type(self) -> str:
        """What the denoiser predicts, as files record it."""

    @property
    def num_timesteps(self) -> int:
        """T."""

    def to(self, device: torch.device | str) -> Self:
        """Returns the process with its tensors on a device."""

    def timesteps(self, level_B: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the timesteps [B] of noise levels in [0, 1), for latents of a height and width."""

    def add_noise(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns noisy latents [B, C, H, W]."""

    def target(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns what the denoiser should predict, [B, C, H, W]."""

    def min_snr_weights(self, t_B: Tensor, gamma: float) -> Tensor:
        """Returns min-SNR-gamma loss weights [B]; see `DDPMProcess`."""

    def snr_power_weights(self, t_B: Tensor, power: float) -> Tensor:
        """Returns loss weights [B] that favor noisy timesteps; see `DDPMProcess`."""


@dataclass(frozen=True)
class DDPMProcess:
    """The variance-preserving process of DDPM (Ho et al. 2020) with the model's own noise schedule.

    a_t is the cumulative product of the schedule's alphas, snr_t = a_t / (1 - a_t).
    """

    alphas_cumprod: Tensor
    """[T] float32, a_t; decreasing."""
    prediction_type: str
    """What the denoiser predicts: `epsilon`, the noise, or `v_prediction`."""

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise UserError(
                f"the model's scheduler has prediction_type {self.prediction_type!r}, but textual inversion supports "
                f"only {' and '.join(PREDICTION_TYPES)}. Choose another model."
            )

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def to(self, device: torch.device | str) -> Self:
        """Returns the process with its schedule on a device."""
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))

    def timesteps(self, level_B: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Returns the integer timesteps [B] of noise levels in [0, 1), whatever the size of the latents."""
        return (level_B * self.num_timesteps).long().clamp(max=self.num_timesteps - 1)

    def add_noise(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns noisy latents [B, C, H, W]: sqrt(a_t) x + sqrt(1 - a_t) noise (Ho et al. 2020, eq. 4).

        Args:
            clean_BCHW: latents x, scaled by the VAE's factor.
            noise_BCHW: standard normal noise.
            t_B: integer timesteps in [0, T).
        """
        a_B111 = self.alphas_cumprod[t_B].view(-1, 1, 1, 1)
        return (a_B111.sqrt() * clean_BCHW + (1 - a_B111).sqrt() * noise_BCHW).to(clean_BCHW.dtype)

    def target(self, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Returns what the denoiser should predict, [B, C, H, W] in the dtype of the noise.

        The noise, or v = sqrt(a_t) noise - sqrt(1 - a_t) x (Salimans & Ho 2022).
        """
        if self.prediction_type == "epsilon":
            return noise_BCHW
        a_B111 = self.alphas_cumprod[t_B].view(-1, 1, 1, 1)
        return (a_B111.sqrt() * noise_BCHW - (1 - a_B111).sqrt() * clean_BCHW).to(noise_BCHW.dtype)

    def snr(self, t_B: Tensor) -> Tensor:
        """Returns the signal-to-noise ratio [B], a_t / (1 - a_t)."""
        a_B = self.alphas_cumprod[t_B]
        return a_B / (1 - a_B)

    def min_snr_weights(self, t_B: Tensor, gamma: float) -> Tensor:
        """Returns min-SNR-gamma loss weights [B] (Hang et al. 2023, arXiv 2303.09556), which cap clean timesteps.

        min(snr, gamma) / snr in (0, 1] for epsilon, min(snr, gamma) / (snr + 1) in [0, 1) for v.
        """
        snr_B = self.snr(t_B)
        if self.prediction_type == "epsilon":
            return gamma / snr_B.clamp(min=gamma)
        return snr_B.clamp(max=gamma) / (snr_B + 1)

    def snr_power_weights(self, t_B: Tensor, power: float) -> Tensor:
        """Returns loss weights [B] above 0 that favor noisy timesteps: snr ** -power for epsilon.

        Power 1/2 is debiased estimation (Yu et al. 2023, arXiv 2310.08442). For v the weight has a factor
        snr / (snr + 1), as in min-SNR: an error in v is (snr + 1) / snr times the error in epsilon that leads to the
        same image, so the objective does not depend on the prediction type. (kohya's trainer has 1 / (snr + 1) for v.)
        """
        snr_B = self.snr(t_B)
        if self.prediction_type == "epsilon":
            return snr_B**-power
        return snr_B ** (1 - power) / (snr_B + 1)


def apply_guidance(predicted_BCHW: Tensor, negative_BCHW: Tensor, scale: float) -> Tensor:
    """Returns negative + scale (predicted - negative): classifier-free guidance (Ho & Salimans 2022, 2207.12598)."""
    return negative_BCHW + scale * (predicted_BCHW - negative_BCHW)


def sample_moments(moments_B2CHW: Tensor, noise_BCHW: Tensor) -> Tensor:
    """Returns a sample [B, C, H, W] of the VAE's posterior, not scaled: mean + exp(logvar / 2) noise.

    The log-variance is clamped to [-30, 20], as in diffusers; where it is minus infinity, the mean is returned.
    """
    mean_BCHW, logvar_BCHW = moments_B2CHW.chunk(2, dim=1)
    std_BCHW = torch.exp(0.5 * logvar_BCHW.clamp(-30.0, 20.0)).masked_fill(logvar_BCHW.isneginf(), 0.0)
    return mean_BCHW + std_BCHW * noise_BCHW
