"""From pictures to latents and back, through a frozen VAE.

B batch, C latent channels, H W picture height and width, h w latent height and width.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tinv.diffusion.process import sample_moments


def precision(dtype: torch.dtype, config: Any) -> torch.dtype:
    """The precision that a VAE runs in where the rest of its model runs in `dtype`.

    float16 overflows in SDXL's decoder and in others (`force_upcast` in their configuration, and where it says
    nothing); there it is float32.
    """
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels_B3HW: Tensor) -> Tensor:
    """Moments [B, 2C, h, w] of pictures in [-1, 1]: mean and log-variance, unscaled."""
    with _own_precision(vae):
        return vae.encode(pixels_B3HW.to(vae.device, vae.dtype)).latent_dist.parameters


def sample(vae: AutoencoderKL, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
    """Latents [B, C, h, w] drawn from the posterior and scaled as the U-Net expects them."""
    return sample_moments(moments_B2Chw, noise_BChw) * vae.config.scaling_factor


@torch.no_grad()
def decode(vae: AutoencoderKL, x_BChw: Tensor) -> Tensor:
    """Pixels [B, 3, H, W] in [0, 1], float32, of scaled latents."""
    with _own_precision(vae):
        pixels_B3HW = vae.decode((x_BChw / vae.config.scaling_factor).to(vae.device, vae.dtype), return_dict=False)[0]
    return (pixels_B3HW.float() * 0.5 + 0.5).clamp(0, 1)


def _own_precision(vae: AutoencoderKL) -> torch.autocast:
    """The training's mixed precision is not the VAE's: under 16-mixed it would overflow."""
    return torch.autocast(vae.device.type, enabled=False)
