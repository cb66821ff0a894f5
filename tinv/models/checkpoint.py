"""A whole model in one file, in the layout of the original programs: what it holds, and what it is."""

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
from tinv.models.families import SD, SDXL, Family, not_ours, purpose

UNET = "model.diffusion_model."
VAE = "first_stage_model."
_OLD_TEXT = re.compile(r"^(cond_stage_model|conditioner\.embedders\.0)\.transformer\.(?!text_model\.)")


@dataclass(frozen=True)
class Layout:
    """How a kind of model names its weights in one file."""

    family: Family
    config: str | None
    """The Hub's id of configurations that fit, or None where a file does not say which do."""


SD1_FILE = Layout(SD, "stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14")
SD2_FILE = Layout(SD, None)
SDXL_FILE = Layout(SDXL, "stabilityai/stable-diffusion-xl-base-1.0@462165984030d82259a11f4367a4eed129e94a7b")


class _Stranger:
    """Stands for a class that a checkpoint names beside its weights; it is never called."""


_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    (_Stranger, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),  # a dict key in SD 1.4's and 1.5's
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
    type(np.dtype("float32")),
]
"""What published .ckpt files hold beside tensors; none of it runs code."""


def read_checkpoint(path: Path, *, setting: str = "model.pretrained") -> dict[str, Tensor]:
    """The tensors of a .safetensors or .ckpt file, under today's names; memory is taken only for those that are used.

    Raises:
        UserError: it is broken, no such file, or holds code, which is never run.
    """
    with path.open("rb") as file:
        head = file.read(9)
    try:
        if head[8:] == b"{":
            content: Any = load_file(path)
        elif head[:2] == b"PK" or head[:1] == b"\x80":
            with torch.serialization.safe_globals(_HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=head[:2] == b"PK")
        else:
            raise UserError(f"{setting}: {path} is no .safetensors or .ckpt file; give the file of the weights itself")
    except SafetensorError as error:
        raise UserError(f"{setting}: {path} is broken ({error}); is it cut short? Fetch it again") from error
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{setting}: {path} cannot be read as plain weights: it is cut short, or it holds code, which is never "
            f"run; fetch it again or take the .safetensors file of the same model"
        ) from error
    while isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"{setting}: {path} holds a {type(content).__name__}, not weights; give another file")
    if "string_to_param" in content:
        raise _embedding(path)
    return {
        _OLD_TEXT.sub(r"\1.transformer.text_model.", name): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def recognise_checkpoint(weights: Mapping[str, Tensor], *, place: str) -> Layout:
    """Which kind of model the weights of a file are.

    Raises:
        UserError: saying what else it is, or what it lacks.
    """

    def has(*beginnings: str) -> bool:
        return any(name.startswith(beginnings) for name in weights)

    if any("lora" in name.lower() for name in weights):
        raise not_ours(place, "a LoRA, which is laid over a model; give the model")
    if not has(UNET):
        raise not_ours(place, _without_unet(weights))
    if has("control_model."):
        raise not_ours(place, "a ControlNet")
    first = weights.get(f"{UNET}input_blocks.0.0.weight")
    if first is None or "edm_mean" in weights:
        raise not_ours(place, "a diffusion model of another kind")
    if first.shape[1] != 4:
        raise not_ours(place, purpose(first.shape[1]))
    if f"{UNET}time_embed.cond_proj.weight" in weights:
        raise not_ours(place, "a distilled (LCM) model, whose U-Net also wants the guidance scale")
    if has("conditioner.embedders.1."):
        return SDXL_FILE
    if has("conditioner.embedders.0.model."):
        raise not_ours(place, "the refiner of SDXL, which has the second text encoder alone")
    if has("cond_stage_model.transformer."):
        return SD1_FILE
    if has("cond_stage_model.model."):
        return SD2_FILE
    raise UserError(f"model.pretrained: {place} has no text encoder; take a file that holds the whole model")


def _without_unet(weights: Mapping[str, Tensor]) -> str:
    if len(weights) <= 16:
        return "an embedding or a part of a model; an embedding to go on from belongs in embedding.init_file"
    if "encoder.conv_in.weight" in weights or "first_stage_model.encoder.conv_in.weight" in weights:
        return "a VAE alone, which belongs in model.vae"
    if "conv_in.weight" in weights:
        return "the U-Net of a pipeline alone; give the folder of the whole pipeline"
    return "something else: it has no model.diffusion_model weights"


def _embedding(path: Path) -> UserError:
    return not_ours(str(path), "an embedding; to go on from it, give it as embedding.init_file")
