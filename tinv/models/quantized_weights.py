"""The weights of quantized linear layers: their backward pass, the tensors that hold them, their original values.

I O width of the input and the output of a linear layer.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from tinv.errors import UserError
from tinv.hub.pipeline_files import select_component_files

NUM_FIRST_VALUES = 16
"""The values of each tensor that identify a model."""


class _FrozenLinear(torch.autograd.Function):
    """A linear layer that saves nothing: its backward pass dequantizes the weight [O, I] again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Linear) -> Tensor:
        """Returns torchao's own output [..., O] for x [..., I]."""
        ctx.layer = layer
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Returns the gradient of x."""
        return gradient @ ctx.layer.weight.dequantize().to(gradient.dtype), None


def save_no_weights(module: nn.Module) -> None:
    """Make the linear layers that torchao has quantized save nothing for the backward pass.

    torchao computes with a dequantized copy of each weight, and autograd would save it: all copies together take as
    much memory as the weights did before (torchao 0.18). bitsandbytes dequantizes again by itself.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and hasattr(layer.weight, "__tensor_flatten__"):
            layer.forward = partial(_apply, layer)  # type: ignore[method-assign]


def _apply(layer: nn.Linear, input: Tensor) -> Tensor:
    output: Tensor = _FrozenLinear.apply(input, layer)
    return output


def is_quantized(weight: Tensor) -> bool:
    """Whether a parameter is of a class of torchao or bitsandbytes."""
    return type(weight) is not nn.Parameter


def stored_tensors(weight: Tensor) -> list[Tensor]:
    """The plain tensors that hold a weight: itself, or the values and scales of a quantized one."""
    if hasattr(weight, "__tensor_flatten__"):
        return [part for name in weight.__tensor_flatten__()[0] for part in stored_tensors(getattr(weight, name))]
    state = getattr(weight, "quant_state", None)  # of bitsandbytes
    return [weight] if state is None else [weight, state.absmax]


def read_first_values(folder: Path, names: Sequence[str], *, variant: str | None) -> dict[str, Tensor]:
    """The first values of weights before they were quantized, by parameter name, from the files of a component.

    Raises:
        UserError: the component has no .safetensors files with them.
    """
    values, stored = {}, dict[str, Any]()
    with ExitStack() as stack:
        for file in select_component_files([path.name for path in folder.iterdir()], variant=variant):
            if file.endswith(".safetensors"):
                content = stack.enter_context(safe_open(folder / file, framework="pt"))
                stored |= {key: content.get_slice(key) for key in content.keys()}  # noqa: SIM118
        for name in names:
            if (key := _find_key(name, stored)) is None:
                raise UserError(
                    f"model.quantization: {folder} has no .safetensors file with {name}. Download the weights as "
                    f".safetensors, or set model.quantization=null."
                )
            num_rows = -(-NUM_FIRST_VALUES // stored[key].get_shape()[-1])
            values[name] = stored[key][:num_rows].flatten()[:NUM_FIRST_VALUES]
    return values


def _find_key(name: str, keys: Iterable[str]) -> str | None:
    """The key of a parameter in files; transformers adds or drops prefixes such as `text_model.` and `model.`."""
    if name in keys:
        return name
    return max((key for key in keys if key.endswith(f".{name}") or name.endswith(f".{key}")), key=len, default=None)
