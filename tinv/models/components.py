"""The components of a model, from a pipeline folder or a single file; missing weights are an error, never random."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from torch import Tensor

from tinv.errors import UserError
from tinv.models.checkpoint import UNET, VAE, read_checkpoint
from tinv.models.family import Family
from tinv.models.quantization import Quantization, quantization_config
from tinv.models.quantized_weights import save_no_weights
from tinv.models.vae import vae_dtype


def class_of(name: str) -> Any:
    """The class of a component, which is of transformers or of diffusers."""
    return getattr(transformers, name, None) or getattr(diffusers, name)


def load_modules(
    weights: Path,
    configs: Path,
    family: Family,
    names: Iterable[str],
    *,
    variant: str | None = None,
    dtype: torch.dtype,
    quantization: Mapping[str, Quantization] | None = None,
    name: str,
    setting: str = "model.pretrained",
) -> dict[str, Any]:
    """The components of these names, which all have weights; a VAE that float16 would overflow is loaded in float32.

    Args:
        weights: a pipeline folder, or a single file in the layout of the original programs.
        configs: the folder of the components' configurations, for a single file.
        family: of the model.
        names: of the components.
        variant: of the weights in a folder.
        dtype: of the loaded weights.
        quantization: of components in a folder.
        name: the model's name in messages.
        setting: the setting with that name.

    Raises:
        UserError: a component lacks weights, or the configurations are of another model.
        Exception: whatever the libraries raise for missing or broken files.
    """
    classes = {component: class_of(family.modules[component]) for component in names}
    if weights.is_dir():
        return {
            component: _from_folder(
                cls,
                weights,
                component,
                variant=variant,
                dtype=dtype,
                quantization=(quantization or {}).get(component),
                setting=setting,
            )
            for component, cls in classes.items()
        }
    tensors = read_checkpoint(weights, setting=setting)
    if "vae" in classes and not any(key.startswith(VAE) for key in tensors):
        raise UserError(
            f"model.vae=null: {name} contains no VAE. Set model.vae to a folder, a file or a Hub id of one."
        )
    return {
        component: _from_tensors(component, cls, tensors, configs, dtype, name=name, setting=setting)
        for component, cls in classes.items()
    }


def load_vae(path: Path, configs: Path, family: Family, *, dtype: torch.dtype) -> Any:
    """A VAE from a folder or file of its own, or from the single file of a model; float32 if float16 would overflow.

    `configs` has the VAE's configuration in its folder `vae`, for a file.

    Raises:
        UserError: this is no VAE of the family, or it lacks weights.
    """
    cls = class_of(family.vae_class)
    if path.is_file():
        if family.vae_class not in SINGLE_FILE_LOADABLE_CLASSES:
            raise UserError(f"model.vae={path}: diffusers reads no file of an {family.vae_class}. Give its folder.")
        tensors = read_checkpoint(path, setting="model.vae")
        return _from_tensors("vae", cls, tensors, configs, dtype, name=str(path), setting="model.vae")
    if (kind := cls.load_config(path).get("_class_name")) != family.vae_class:
        raise UserError(f"model.vae={path}: this has the class {kind}. Give an {family.vae_class} to {family.title}.")
    return _from_folder(cls, path, "", variant=None, dtype=dtype, setting="model.vae")


def load_scheduler(folder: Path, family: Family) -> Any:
    """The scheduler of a pipeline, as the family's class; the configuration of any DDPM scheduler fits any other's."""
    return class_of(family.scheduler_class).from_pretrained(folder, subfolder="scheduler")


def _from_folder(
    cls: Any,
    folder: Path,
    subfolder: str,
    *,
    variant: str | None,
    dtype: torch.dtype,
    quantization: Quantization | None = None,
    setting: str,
) -> Any:
    if subfolder in ("vae", ""):
        dtype = vae_dtype(dtype, cls.load_config(folder, subfolder=subfolder or None))
    options: dict[str, Any] = {"subfolder": subfolder} if subfolder else {}
    if quantization:
        is_of_diffusers = issubclass(cls, diffusers.ModelMixin)
        options["quantization_config"] = quantization_config(quantization, dtype=dtype, is_of_diffusers=is_of_diffusers)
    module, report = cls.from_pretrained(folder, **options, variant=variant, dtype=dtype, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{setting}={folder}: the {subfolder or 'vae'} lacks {len(missing)} of its weights "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}). Is it complete? Download it again."
        )
    if quantization:
        save_no_weights(module)
    return module


def _from_tensors(
    component: str,
    cls: Any,
    tensors: Mapping[str, Tensor],
    configs: Path,
    dtype: torch.dtype,
    *,
    name: str,
    setting: str,
) -> Any:
    """Convert a component with diffusers' own conversion of the original names."""
    if component == "vae":
        dtype = vae_dtype(dtype, cls.load_config(configs, subfolder=component))
    is_diffusers = hasattr(cls, "from_single_file")
    convert = cls.from_single_file if is_diffusers else partial(create_diffusers_clip_model_from_ldm, cls)
    incomplete = UserError(
        f"{setting}={name}: the {component} lacks some of its weights. Is the file complete and of this model?"
    )
    try:
        module = convert(
            dict(tensors), config=str(configs), subfolder=component, torch_dtype=dtype, local_files_only=True
        )
    except NotImplementedError as error:  # diffusers cannot convert the precision of a weight that is missing
        raise incomplete from error
    if any(value.is_meta for value in module.state_dict().values()):
        raise incomplete
    in_file, in_module = sum(key.startswith(UNET) for key in tensors), len(module.state_dict())
    if component == "unet" and in_file != in_module:
        raise UserError(
            f"model.config={configs}: describes a U-Net of {in_module} tensors, but {name} has {in_file}. Give the "
            f"configurations of this model."
        )
    return module
