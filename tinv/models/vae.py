"""The frozen VAE: images to latents and back, on the training device only while it works.

B batch, C latent channels, H W image height and width, h w latent height and width.
"""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Generic, TypeVar

import diffusers
import torch
from torch import Tensor, nn

from tinv.diffusion.process import sample_moments

Module = TypeVar("Module", bound=nn.Module)


class OffloadedModule(Generic[Module]):
    """Holds a module that waits on the device where it was loaded, the CPU, until it is used.

    Deliberately no nn.Module: what Lightning does to the whole model (`to(device)`, `half()`, wrapping it for several
    processes) does not reach the held module.
    """

    def __init__(self, module: Module):
        self.module = module

    @contextmanager
    def on(self, device: torch.device | str) -> Iterator[Module]:
        """The module, on a device while the block runs and then where it was before; blocks can be nested."""
        before = next(self.module.parameters()).device
        try:
            yield self.module.to(device)
        finally:
            self.module.to(before)


def vae_dtype(dtype: torch.dtype, config: Any) -> torch.dtype:
    """The precision of a VAE whose model has weights of `dtype`.

    float16 overflows in the decoders of SDXL and others (their configuration says `force_upcast`, or does not mention
    it): those run in float32 instead.
    """
    return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype


@torch.no_grad()
def encode(vae: Any, pixels_B3HW: Tensor) -> Tensor:
    """Moments [B, 2C, h, w] of images in [-1, 1]: mean and log-variance, unscaled.

    The log-variance of an autoencoder without a posterior, such as DC-AE, is minus infinity.
    """
    with _without_autocast(vae):
        encoded = vae.encode(_as_video(vae, pixels_B3HW.to(vae.device, vae.dtype)))
    if hasattr(encoded, "latent_dist"):
        moments: Tensor = encoded.latent_dist.parameters
        return moments.squeeze(2) if _is_of_videos(vae) else moments
    return torch.cat([encoded.latent, torch.full_like(encoded.latent, -torch.inf)], dim=1)


def sample(vae: Any, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
    """Latents [B, C, h, w] drawn from the posterior, shifted and scaled as the denoiser expects them."""
    shift, scale = _shift_and_scale(vae, moments_B2Chw)
    return (sample_moments(moments_B2Chw, noise_BChw) - shift) * scale


@torch.no_grad()
def decode(vae: Any, x_BChw: Tensor, *, is_scaled: bool = True) -> Tensor:
    """Pixels [B, 3, H, W] in [0, 1], float32, of latents; `is_scaled` if they are shifted and scaled."""
    if is_scaled:
        shift, scale = _shift_and_scale(vae, x_BChw)
        x_BChw = x_BChw / scale + shift
    with _without_autocast(vae):
        pixels_B3HW = vae.decode(_as_video(vae, x_BChw.to(vae.device, vae.dtype)), return_dict=False)[0]
    if _is_of_videos(vae):
        pixels_B3HW = pixels_B3HW.squeeze(2)
    return (pixels_B3HW.float() * 0.5 + 0.5).clamp(0, 1)


def latent_channels(vae: Any) -> int:
    """C; the configuration of a VAE of videos calls it `z_dim`."""
    channels: int = vae.config.z_dim if _is_of_videos(vae) else vae.config.latent_channels
    return channels


def _is_of_videos(vae: Any) -> bool:
    return "z_dim" in vae.config


def _as_video(vae: Any, images: Tensor) -> Tensor:
    """Images [B, C, H, W] as the VAE takes them: as videos [B, C, 1, H, W] of one frame, if it is one of videos."""
    return images.unsqueeze(2) if _is_of_videos(vae) else images


def _shift_and_scale(vae: Any, like: Tensor) -> tuple[Any, Any]:
    """What is subtracted from latents, and what they are then multiplied by.

    It is for all channels, for each, [C, 1, 1], or for each channel and position in a patch, [C, h, w] (Flux.2).
    """
    if hasattr(vae, "bn"):
        std = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        mean_Chw, std_Chw = (
            _repeat_patch(statistics, vae.config.patch_size, like) for statistics in (vae.bn.running_mean, std)
        )
        return mean_Chw, 1 / std_Chw
    scale, shift = vae.config.get("scaling_factor", 1.0), vae.config.get("shift_factor") or 0.0
    if vae.config.get("latents_mean") is None:
        return shift, scale
    mean_C11, std_C11 = (
        torch.tensor(vae.config[name], dtype=like.dtype, device=like.device).view(-1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    return mean_C11, scale / std_C11


def _repeat_patch(statistics: Tensor, patch_size: tuple[int, int], like: Tensor) -> Tensor:
    """[C, h, w] of the statistics [C * height * width] of a patch, for latents [..., h, w]."""
    height, width = patch_size
    patch = statistics.to(like).view(-1, height, width)
    return patch.repeat(1, like.shape[-2] // height, like.shape[-1] // width)


def encoding_identity(vae: Any, device: torch.device) -> str:
    """32 hex digits of all that decides the bits of an image's moments: every weight, precision, libraries, device.

    The fingerprint of a model hashes only the first values of each tensor. That suffices to tell models apart, but not
    for a cache whose content is used without a check. `device` is where the VAE will encode, wherever it is now.
    """
    hardware = [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    settings = {
        "config": {key: value for key, value in vae.config.items() if key[0] != "_"},
        "attention": sorted({type(part.processor).__name__ for part in vae.modules() if hasattr(part, "processor")}),
        "ways": [getattr(vae, "use_tiling", False), getattr(vae, "use_slicing", False)],
        "versions": [torch.__version__, diffusers.__version__],
        "device": [device.type, *([torch.cuda.get_device_name(device)] if device.type == "cuda" else hardware)],
        "tf32": [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32],
    }
    digest = sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for part in (vae.encoder, getattr(vae, "quant_conv", None)):
        for name, tensor in part.state_dict().items() if part is not None else ():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _without_autocast(vae: Any) -> torch.autocast:
    """Keeps the training's mixed precision from the VAE, which would overflow under 16-mixed."""
    return torch.autocast(vae.device.type, enabled=False)
