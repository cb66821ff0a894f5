"""The shipped VAE's encoder as one matrix: latents of thousands of images without a pass through the VAE."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tinv.toybox.pretrain.clip import to_pixels
from tinv.toybox.pretrain.pca_encoder import patches_of

TOLERANCE = 0.01
"""Largest error of a latent; their standard deviation is one."""


@torch.no_grad()
def fit_linear_encoder(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Returns the matrix [49, C] from a patch of 48 values and a constant to its scaled latent, by least squares.

    Args:
        vae: its encoder is that of `pca_encoder`.
        images: [N, 3, 64, 64] uint8, some tens of them.

    Raises:
        ValueError: if the encoder is not linear in the patches.
    """
    latents = vae.encode(to_pixels(images)).latent_dist.mean * vae.config.scaling_factor
    patches, targets = extended_patches(images).flatten(0, 2), latents.permute(0, 2, 3, 1).flatten(0, 2)
    matrix = torch.linalg.lstsq(patches.double(), targets.double()).solution.float()
    error = float((patches @ matrix - targets).abs().max())
    if error > TOLERANCE:
        raise ValueError(f"the VAE's encoder is not linear in patches of 4 x 4 pixels: the fit is off by {error:.3f}")
    return matrix


def encode_images(images: Tensor, matrix: Tensor) -> Tensor:
    """Returns the scaled latents [N, C, 16, 16] bfloat16 of images [N, 3, 64, 64] uint8."""
    parts = (extended_patches(part) @ matrix for part in images.split(1000))
    return torch.cat([part.permute(0, 3, 1, 2).bfloat16() for part in parts])


def extended_patches(images: Tensor) -> Tensor:
    """Returns the patches of images and a constant one, [N, 16, 16, 49]."""
    patches = patches_of(to_pixels(images))
    return torch.cat([patches, patches.new_ones(*patches.shape[:3], 1)], 3)
