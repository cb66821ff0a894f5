"""A single file with a whole model, in the layout of the original programs: reading it, and recognizing its family."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tinv.errors import UserError
from tinv.models.families import LCM, REFINER, purpose, unsupported
from tinv.models.family import Family
from tinv.models.stable_diffusion import STABLE_DIFFUSION
from tinv.models.stable_diffusion_xl import STABLE_DIFFUSION_XL

UNET = "model.diffusion_model."
VAE = "first_stage_model."
_OLD_TEXT = re.compile(r"^(cond_stage_model|conditioner\.embedders\.0)\.transformer\.(?!text_model\.)")


@dataclass(frozen=True)
class CheckpointLayout:
    """How the single files of a family name their weights."""

    family: Family
    config: str | None
    """The Hub id of matching configurations; None if the weights do not tell which match."""


SD1_FILE = CheckpointLayout(
    STABLE_DIFFUSION, "stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
)
SD2_FILE = CheckpointLayout(STABLE_DIFFUSION, None)
SDXL_FILE = CheckpointLayout(
    STABLE_DIFFUSION_XL, "stabilityai/stable-diffusion-xl-base-1.0@462165984030d82259a11f4367a4eed129e94a7b"
)


class _Placeholder:
    """Replaces a class that a checkpoint names beside its weights; it is never called."""


_SCALAR = np.float64(0).__reduce__()[0]
_SAFE_GLOBALS: list[Any] = [
    (_Placeholder, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),  # a dict key in SD 1.4's and 1.5's
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
    type(np.dtype("float32")),
]
"""What published .ckpt files contain beside tensors; none of it runs code."""


def read_checkpoint(path: Path, *, setting: str = "model.pretrained") -> dict[str, Tensor]:
    """The tensors of a .safetensors or .ckpt file, under today's names, memory-mapped if possible.

    Raises:
        UserError: the file is broken or no checkpoint, or contains code, which is never run.
    """
    with path.open("rb") as file:
        head = file.read(9)
    try:
        if head[8:] == b"{":
            content: Any = load_file(path)
        elif head[:2] == b"PK" or head[:1] == b"\x80":
            with torch.serialization.safe_globals(_SAFE_GLOBALS):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=head[:2] == b"PK")
        else:
            raise UserError(f"{setting}={path}: not a .safetensors or .ckpt file. Give the file with the weights.")
    except SafetensorError as error:
        raise UserError(f"{setting}={path}: broken ({error}). Is it truncated? Download it again.") from error
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{setting}={path}: cannot be read as plain weights. It is truncated, or contains code, which is never "
            f"run. Download it again, or use the .safetensors file of the same model."
        ) from error
    while isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"{setting}={path}: contains a {type(content).__name__}, not weights. Give another file.")
    if "string_to_param" in content:
        raise unsupported(str(path), "an embedding, which belongs in embedding.init_file")
    return {
        _OLD_TEXT.sub(r"\1.transformer.text_model.", name): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def recognize_checkpoint(weights: Mapping[str, Tensor], *, name: str) -> CheckpointLayout:
    """The layout of the weights of a file that the user calls `name`.

    Raises:
        UserError: the file is incomplete or of another family.
    """

    def has(*prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in weights)

    if any("lora" in key.lower() for key in weights):
        raise unsupported(name, "a LoRA, which modifies a model")
    if not has(UNET):
        raise unsupported(name, _kind_without_unet(weights))
    if has("control_model."):
        raise unsupported(name, "a ControlNet")
    first = weights.get(f"{UNET}input_blocks.0.0.weight")
    if first is None or "edm_mean" in weights:
        raise unsupported(name, "a diffusion model of another kind")
    if first.shape[1] != 4:
        raise unsupported(name, purpose(first.shape[1]))
    if f"{UNET}time_embed.cond_proj.weight" in weights:
        raise unsupported(name, LCM)
    if has("conditioner.embedders.1."):
        return SDXL_FILE
    if has("conditioner.embedders.0.model."):
        raise unsupported(name, REFINER)
    if has("cond_stage_model.transformer."):
        return SD1_FILE
    if has("cond_stage_model.model."):
        return SD2_FILE
    raise UserError(f"model.pretrained={name}: the file has no text encoder. Use a file with the whole model.")


def _kind_without_unet(weights: Mapping[str, Tensor]) -> str:
    if len(weights) <= 16:
        return "an embedding or a component; an embedding belongs in embedding.init_file"
    if "encoder.conv_in.weight" in weights or "first_stage_model.encoder.conv_in.weight" in weights:
        return "only a VAE, which belongs in model.vae"
    if "conv_in.weight" in weights:
        return "only the U-Net of a pipeline; give the folder of the whole pipeline"
    return "a file without model.diffusion_model weights"
