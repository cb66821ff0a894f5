"""The parts of a model in one file, through diffusers' own conversion of the original names."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm as _convert_text
from torch import Tensor

from tinv.errors import UserError
from tinv.models.checkpoint import UNET
from tinv.models.components import CLASSES
from tinv.models.families import Family
from tinv.models.vae import precision


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
    return {name: _convert(name, CLASSES[family.modules[name]], weights, folder, dtype, place=place) for name in names}


def convert_vae(weights: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype, place: str) -> AutoencoderKL:
    """A VAE from a file of its own, or from that of another model, after the configuration of this model's."""
    return _convert("vae", AutoencoderKL, weights, folder, dtype, place=place, setting="model.vae")


def _convert(
    name: str,
    kind: Any,
    weights: Mapping[str, Tensor],
    folder: Path,
    dtype: torch.dtype,
    *,
    place: str,
    setting: str = "model.pretrained",
) -> Any:
    if kind is AutoencoderKL:
        dtype = precision(dtype, kind.load_config(folder, subfolder=name))
    convert = kind.from_single_file if hasattr(kind, "from_single_file") else partial(_convert_text, kind)
    lacking = UserError(
        f"{setting}: the {name} of {place} lacks some of its weights; is the file complete and of this model?"
    )
    try:
        module = convert(dict(weights), config=str(folder), subfolder=name, torch_dtype=dtype, local_files_only=True)
    except NotImplementedError as error:  # of a weight that is not there the precision cannot be changed
        raise lacking from error
    if any(value.is_meta for value in module.state_dict().values()):
        raise lacking
    in_file, wanted = sum(key.startswith(UNET) for key in weights), len(module.state_dict())
    if name == "unet" and in_file != wanted:
        raise UserError(
            f"model.config: describes a U-Net of {wanted} tensors, {place} has {in_file}; give the configurations of "
            f"this model"
        )
    return module
