"""The parts of a model in one file, through diffusers' own conversion of the original names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from torch import Tensor, nn

from tinv.errors import UserError
from tinv.models.checkpoint import UNET
from tinv.models.components import CLASSES, incomplete
from tinv.models.families import Family
from tinv.models.latents import precision


def convert_modules(
    weights: Mapping[str, Tensor], folder: Path, family: Family, names: Iterable[str], *, dtype: torch.dtype, place: str
) -> dict[str, Any]:
    """The parts that hold weights.

    Args:
        weights: of the whole file.
        folder: with the configurations of the parts, in the layout of diffusers.
        family: says of which class they are.
        names: of the parts.
        dtype: that they run in; a VAE that would overflow stays in float32.
        place: the file, for messages.

    Raises:
        UserError: the file lacks some of the weights, or the configurations are of another model.
        Exception: whatever diffusers says of weights that do not fit.
    """
    return {
        name: _checked(name, _convert(CLASSES[family.modules[name]], weights, folder, name, dtype), weights, place)
        for name in names
    }


def convert_vae(weights: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype, place: str) -> AutoencoderKL:
    """A VAE from a file of its own, or from that of another model, after the configuration of this model's."""
    return _checked("vae", _convert(AutoencoderKL, weights, folder, "vae", dtype), weights, place)


def _convert(kind: Any, weights: Mapping[str, Tensor], folder: Path, name: str, dtype: torch.dtype) -> Any:
    place: dict[str, Any] = {"config": str(folder), "subfolder": name, "local_files_only": True}
    if kind is AutoencoderKL:
        dtype = precision(dtype, kind.load_config(folder, subfolder=name))
    if kind in (AutoencoderKL, UNet2DConditionModel):
        return kind.from_single_file(dict(weights), torch_dtype=dtype, **place)
    return create_diffusers_clip_model_from_ldm(kind, dict(weights), torch_dtype=dtype, **place)


def _checked(name: str, module: nn.Module, weights: Mapping[str, Tensor], place: str) -> Any:
    if missing := [key for key, value in module.state_dict().items() if value.is_meta]:
        raise incomplete(name, missing, place=place)
    in_file = sum(key.startswith(UNET) for key in weights)
    if name == "unet" and in_file != len(module.state_dict()):
        raise UserError(
            f"model.config: describes a U-Net of {len(module.state_dict())} tensors, {place} has {in_file}; give the "
            f"configurations of this model"
        )
    return module
