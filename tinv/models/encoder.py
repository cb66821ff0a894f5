"""What tells one encoder of pictures from another that gives other bits."""

import json
import platform
from hashlib import sha256

import diffusers
import torch
from diffusers import AutoencoderKL


def encoder_of(vae: AutoencoderKL, device: torch.device) -> str:
    """32 hex digits, from all that decides a picture's moments: every weight, precision, libraries, device.

    `fingerprint` looks at the head of each tensor only: that is enough to tell models apart, not for files that are
    believed without looking.

    Args:
        vae: wherever it is.
        device: on which it will encode.
    """
    digest = sha256()
    told = {
        "config": {key: value for key, value in vae.config.items() if key[0] != "_"},
        "attention": sorted({type(processor).__name__ for processor in vae.attn_processors.values()}),
        "ways": [vae.use_tiling, vae.use_slicing],
        "versions": [torch.__version__, diffusers.__version__],
        "device": [device.type, *_hardware(device)],
        "tf32": [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32],
    }
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    for part in (vae.encoder, vae.quant_conv):
        for name, tensor in part.state_dict().items() if part is not None else ():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def _hardware(device: torch.device) -> tuple[str | int, ...]:
    if device.type == "cuda":
        return (torch.cuda.get_device_name(device),)
    return platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
