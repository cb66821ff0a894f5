"""`model.quantization`: which components are quantized, where that works, and the libraries' configurations for it.

int8 and fp8 are torchao's, with a scale for each row; nf4 is that of bitsandbytes. Only linear layers are quantized:
the token embeddings keep `model.dtype`, and learned vectors are float32.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch

from tinv.errors import UserError
from tinv.models.family import Family

Quantization = Literal["int8", "nf4", "fp8"]
_PACKAGES = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
_DEVICES = ("cuda", "cpu")


def resolve_quantization(
    setting: Quantization | Mapping[str, Quantization | None] | None, family: Family
) -> dict[str, Quantization]:
    """The quantization of each component that has one, from the value of `model.quantization`.

    A single value is for the denoiser and the text encoders that are no CLIP: a CLIP takes little memory.

    Raises:
        UserError: there is no such component, or no such quantization.
    """
    if not isinstance(setting, Mapping):
        large = [name for name, class_name in family.text_encoders.items() if not class_name.startswith("CLIP")]
        return {} if setting is None else dict.fromkeys([*large, family.denoiser[0]], setting)
    names = [*family.text_encoders, family.denoiser[0]]
    for name, kind in setting.items():
        if name not in names:
            raise UserError(
                f"model.quantization.{name}={kind}: {family.title} has no such component to quantize. It has "
                f"{', '.join(names)}."
            )
        if kind not in (None, *get_args(Quantization)):
            raise UserError(f"model.quantization.{name}={kind}: unknown. Set int8, nf4, fp8 or null.")
    return {name: kind for name, kind in setting.items() if kind is not None}


def quantization_problems(
    quantization: Mapping[str, Quantization],
    family: Family,
    *,
    is_single_file: bool,
    attention: str,
    compile: bool,
    device: str | None = None,
    precision: str | int | None = None,
) -> Iterator[str]:
    """Yields why these components cannot be quantized here.

    Args:
        quantization: of each quantized component.
        family: of the model.
        is_single_file: whether the weights are in a file of the original layout.
        attention: `model.attention`.
        compile: `model.compile`.
        device: the kind that the model will run on, such as cpu; None if that is not decided yet.
        precision: `trainer.precision`.
    """
    if not quantization:
        return
    kinds = sorted(set(quantization.values()))
    setting = f"model.quantization={'+'.join(kinds)}"
    for package in sorted({_PACKAGES[kind] for kind in kinds if find_spec(_PACKAGES[kind]) is None}):
        yield f'{setting}: the package {package} is not installed. pip install "tinv[quantization]", or set it to null.'
    if device and device not in _DEVICES:
        yield f"{setting}: runs on NVIDIA GPUs and CPUs, but this run is on {device}. Set model.quantization=null."
    if quantization.get(family.denoiser[0]) == "nf4" and (device == "cpu" or not torch.cuda.is_available()):
        yield (
            f"{setting}: diffusers quantizes the {family.denoiser[0]} to nf4 on an NVIDIA GPU only. Set "
            f"model.quantization=int8 or fp8 on a CPU."
        )
    if is_single_file:
        yield (
            f"{setting}: needs a pipeline folder or a repository of the Hub, not a single file. Convert it with "
            f"diffusers' save_pretrained, or set model.quantization=null."
        )
    if attention == "xformers":
        yield f"{setting}: its gradients with model.attention=xformers cannot be checked. Set model.attention=sdpa."
    if compile:
        yield f"{setting}: is not compiled. Set model.compile=false, or model.quantization=null."
    if str(precision).endswith("-true") and precision != "32-true":
        yield f"{setting}: trainer.precision={precision} would cast quantized weights. Set trainer.precision=32-true."


def quantization_config(kind: Quantization, *, dtype: torch.dtype, is_of_diffusers: bool) -> Any:
    """The configuration that `from_pretrained` of diffusers or transformers takes.

    Args:
        kind: of the weights.
        dtype: that the layers compute in.
        is_of_diffusers: whether the component's class is of diffusers.
    """
    import diffusers
    import transformers

    library: Any = diffusers if is_of_diffusers else transformers
    if kind == "nf4":
        return library.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    return library.TorchAoConfig(Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig())
