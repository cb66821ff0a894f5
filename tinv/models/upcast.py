"""Attention in float32 on the CPU, where the weights are of less precision.

torch's fused attention is slower in bfloat16 than in float32 on CPUs, several times so in its backward pass for few
tokens. Only what goes in and comes out is cast: the products in between become more exact, not less, and no more than
the layers' own tokens are kept in memory.
"""

from typing import Any

from torch import Tensor, nn

_LAYERS = ((("to_q", "to_k", "to_v"), "to_out.0"), (("q_proj", "k_proj", "v_proj"), "out_proj"))
"""What diffusers and transformers call the layers whose outputs attention takes, and the one that takes its own."""


def upcast_attention(model: nn.Module) -> None:
    """Have every layer of attention in a model compute in float32 while it is on the CPU."""
    for layer in model.modules():
        children = dict(layer.named_children())
        for before, after in _LAYERS:
            if children.keys() >= set(before):
                for name in before:
                    children[name].register_forward_hook(_up)
                layer.get_submodule(after).register_forward_pre_hook(_down)


def _up(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.float() if output.device.type == "cpu" else output


def _down(layer: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.to(layer.weight.dtype) for tensor in arguments)
