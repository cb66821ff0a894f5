"""A handwritten encoder: principal components of image patches, in the weights of an ordinary `AutoencoderKL`.

Latents need no trained encoder, so the denoiser and the decoder can be trained independently. Three tricks make
diffusers' convolutional encoder compute a linear map of each 4 x 4 patch:

- Residual branches have a zero last convolution and shortcuts copy, so signals pass unchanged; the two strided
  convolutions first gather 2 x 2 pixels into 12 channels, then apply the 8 x 48 projection to 2 x 2 of those.
- GroupNorm would rescale everything; two constant channels of +K and -K in each group, much larger than the signal,
  fix its mean to 0 and its standard deviation to a known number, which the last convolution undoes.
- The activation is linear in pairs: silu(x) - silu(-x) = x, so each latent is present once with each sign.
"""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

FACTOR = 4
"""Pixels of a patch along each side; an image of 64 x 64 has 16 x 16 latents."""
PIN = 100.0
"""Size of the constant channels."""
LOG_VARIANCE = -6.0
"""Log-variance of the latents' posterior; small, because the encoder is deterministic."""
FLATTEN = -0.35
"""Exponent that equalizes the variances of the components, which decrease steeply."""


@dataclass(frozen=True)
class Components:
    """A linear code for patches: z = project (patch - mean), patch = restore z + mean."""

    mean: Tensor
    """[48], a patch being (row, column, channel)."""
    project: Tensor
    """[latent channels, 48]."""
    restore: Tensor
    """[48, latent channels]."""


def patches_of(images: Tensor) -> Tensor:
    """Returns the 4 x 4 patches [B, 16, 16, 48] of images [B, 3, 64, 64] in [-1, 1]."""
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // FACTOR, FACTOR, width // FACTOR, FACTOR)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, height // FACTOR, width // FACTOR, FACTOR * FACTOR * channels)


def principal_components(images: Tensor, latent_channels: int) -> Components:
    """Returns the components with the largest variance."""
    patches = patches_of(images).flatten(0, 2)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    variances = variances.flip(0)[:latent_channels]
    directions = directions.flip(1)[:, :latent_channels]
    scale = variances**FLATTEN
    return Components(patches.mean(0), (directions * scale).T.contiguous(), directions / scale)


def encode(images: Tensor, components: Components) -> Tensor:
    """Returns the posterior mean of the finished encoder, computed directly: [B, 3, 64, 64] to [B, 8, 16, 16]."""
    return ((patches_of(images) - components.mean) @ components.project.T).permute(0, 3, 1, 2)


@torch.no_grad()
def write_encoder(vae: AutoencoderKL, components: Components) -> None:
    """Sets the weights of the encoder and of both 1 x 1 convolutions around the latents."""
    encoder, channels = vae.encoder, len(components.project)
    width = encoder.conv_out.in_channels
    _silence(encoder.conv_in)
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, 1, 1] = 1
    for block in [*(down.resnets[0] for down in encoder.down_blocks), *encoder.mid_block.resnets]:
        _silence(block.conv2)
        if block.conv_shortcut is not None:
            _silence(block.conv_shortcut)
            copied = block.conv_shortcut.in_channels
            block.conv_shortcut.weight[:copied, :, 0, 0] = torch.eye(copied)
    _gather(encoder.down_blocks[0].downsamplers[0].conv)
    _project(encoder.down_blocks[1].downsamplers[0].conv, components)
    _pair_signs(encoder.down_blocks[2].resnets[0].conv_shortcut, channels, width // 2)
    nn.init.ones_(encoder.conv_norm_out.weight)
    nn.init.zeros_(encoder.conv_norm_out.bias)
    _silence(encoder.conv_out)
    groups = encoder.conv_norm_out.num_groups
    restored = PIN * (2 / (width // groups)) ** 0.5
    for channel in range(channels):
        encoder.conv_out.weight[channel, channel, 1, 1] = restored
        encoder.conv_out.weight[channel, width // 2 + channel, 1, 1] = -restored
    encoder.conv_out.bias[channels:] = LOG_VARIANCE
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        _silence(convolution)
        convolution.weight[:, :, 0, 0] = torch.eye(len(convolution.weight))


def _silence(convolution: nn.Conv2d) -> None:
    nn.init.zeros_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)


def _gather(convolution: nn.Conv2d) -> None:
    """Sets space-to-depth weights: channel (row, column, color) of a 2 x 2 block."""
    _silence(convolution)
    for row in (0, 1):
        for column in (0, 1):
            for color in range(3):
                convolution.weight[(row * 2 + column) * 3 + color, color, row, column] = 1


def _project(convolution: nn.Conv2d, components: Components) -> None:
    """Sets the projection of four gathered blocks to latents, and the two constant channels."""
    _silence(convolution)
    latents = len(components.project)
    assert convolution.bias is not None
    taps = components.project.view(latents, 2, 2, 2, 2, 3)
    for block_row in (0, 1):
        for block_column in (0, 1):
            weights = taps[:, block_row, :, block_column].reshape(latents, 12)
            convolution.weight[:latents, :12, block_row, block_column] = weights
    convolution.bias[:latents] = -components.project @ components.mean
    convolution.bias[-2], convolution.bias[-1] = PIN, -PIN


def _pair_signs(shortcut: nn.Conv2d, latents: int, half: int) -> None:
    """Copies both signs of the latents and the constants into both groups of the last norm; their mean is zero."""
    _silence(shortcut)
    incoming = shortcut.in_channels
    for offset, sign in ((0, 1), (half, -1)):
        for channel in range(latents):
            shortcut.weight[offset + channel, channel, 0, 0] = sign
            shortcut.weight[offset + latents + channel, channel, 0, 0] = -sign
        shortcut.weight[offset + half - 2, incoming - 2, 0, 0] = 1
        shortcut.weight[offset + half - 1, incoming - 1, 0, 0] = 1
