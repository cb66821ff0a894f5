"""The forward process, its targets and its weights, as pure functions of tensors.

B batch, C latent channels, H W latent height and width, T training timesteps.
"""

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction")


def noise_latents(x_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor, alphas_cumprod_T: Tensor) -> Tensor:
    """Diffuse clean latents to timestep t: sqrt(a_t) x + sqrt(1 - a_t) noise (Ho et al. 2020, eq. 4).

    Args:
        x_BCHW: clean latents, already scaled by the VAE's factor.
        noise_BCHW: standard normal noise.
        t_B: integer timesteps in [0, T).
        alphas_cumprod_T: cumulative signal power; float32, decreasing in t.

    Returns:
        Noisy latents, [B, C, H, W], in the dtype of x_BCHW.
    """
    a_B111 = alphas_cumprod_T[t_B].view(-1, 1, 1, 1)
    return (a_B111.sqrt() * x_BCHW + (1 - a_B111).sqrt() * noise_BCHW).to(x_BCHW.dtype)


def target(
    prediction_type: str, *, clean_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor, alphas_cumprod_T: Tensor
) -> Tensor:
    """What the denoiser should answer: the noise, or v = sqrt(a_t) noise - sqrt(1 - a_t) x (Salimans & Ho 2022).

    Returns:
        [B, C, H, W], in the dtype of noise_BCHW.
    """
    assert prediction_type in PREDICTION_TYPES
    if prediction_type == "epsilon":
        return noise_BCHW
    a_B111 = alphas_cumprod_T[t_B].view(-1, 1, 1, 1)
    return (a_B111.sqrt() * noise_BCHW - (1 - a_B111).sqrt() * clean_BCHW).to(noise_BCHW.dtype)


def min_snr_weights(prediction_type: str, *, t_B: Tensor, alphas_cumprod_T: Tensor, gamma: float) -> Tensor:
    """Min-SNR-gamma loss weights (Hang et al. 2023, arXiv 2303.09556): no timestep counts for more than gamma.

    With snr = a_t / (1 - a_t): min(snr, gamma) / snr for epsilon, min(snr, gamma) / (snr + 1) for v.

    Returns:
        [B], in (0, 1] for epsilon and [0, 1) for v.
    """
    assert prediction_type in PREDICTION_TYPES
    a_B = alphas_cumprod_T[t_B]
    snr_B = a_B / (1 - a_B)
    if prediction_type == "epsilon":
        return gamma / snr_B.clamp(min=gamma)
    return snr_B.clamp(max=gamma) / (snr_B + 1)


def snr_power_weights(prediction_type: str, *, t_B: Tensor, alphas_cumprod_T: Tensor, power: float) -> Tensor:
    """Loss weights that count noisy timesteps for more: snr ** -power for epsilon.

    With power 1/2, "debiased estimation" (Yu et al. 2023, arXiv 2310.08442). For v the weight is multiplied by
    snr / (snr + 1), as min-SNR's is: an error in v is (snr + 1) / snr times that in epsilon which comes to the same
    picture, so that the objective is one, whatever the model predicts. (kohya's trainer takes 1 / (snr + 1) for v.)

    Returns:
        [B], above 0.
    """
    assert prediction_type in PREDICTION_TYPES
    a_B = alphas_cumprod_T[t_B]
    snr_B = a_B / (1 - a_B)
    if prediction_type == "epsilon":
        return snr_B**-power
    return snr_B ** (1 - power) / (snr_B + 1)


def timesteps(level_B: Tensor, num_timesteps: int) -> Tensor:
    """The integer timesteps [B] that levels in [0, 1) mean in a schedule of `num_timesteps`."""
    return (level_B * num_timesteps).long().clamp(max=num_timesteps - 1)


def apply_guidance(predicted_BCHW: Tensor, opposite_BCHW: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance away from the opposite: o + g (p - o) (Ho & Salimans 2022, arXiv 2207.12598)."""
    return opposite_BCHW + guidance * (predicted_BCHW - opposite_BCHW)


def sample_moments(moments_B2CHW: Tensor, noise_BCHW: Tensor) -> Tensor:
    """Draw from the VAE's posterior: mean + exp(logvar / 2) noise, log-variance clamped to [-30, 20] as diffusers does.

    Returns:
        Unscaled latents, [B, C, H, W].
    """
    mean_BCHW, logvar_BCHW = moments_B2CHW.chunk(2, dim=1)
    return mean_BCHW + torch.exp(0.5 * logvar_BCHW.clamp(-30.0, 20.0)) * noise_BCHW
