"""How attention is computed: by torch or xformers, and on the CPU in float32.

torch's fused attention is slower in bfloat16 than in float32 on CPUs, several times so in its backward pass for few
tokens. `upcast_attention` casts only the layers' inputs and outputs: the products in between become more exact, and the
extra memory is that of the layers' own tokens.
"""

from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn

from tinv.errors import UserError

TOLERANCE = 0.05
"""The largest accepted error of a gradient, relative to the norm of plain attention's; bfloat16 needs 0.01."""
_LAYERS = ((("to_q", "to_k", "to_v"), "to_out.0"), (("q_proj", "k_proj", "v_proj"), "out_proj"))
"""The names of the layers before and after attention, in diffusers and in transformers."""


def check_xformers() -> None:
    """Refuse xformers where it cannot run; needs no weights.

    Raises:
        UserError: the package or a CUDA device is missing.
    """
    if find_spec("xformers") is None:
        raise UserError(
            'model.attention=xformers: the package is not installed. pip install "tinv[xformers]", '
            "or set model.attention=sdpa."
        )
    if not torch.cuda.is_available():
        raise UserError("model.attention=xformers needs a CUDA device. Set model.attention=sdpa.")


def use_xformers(unet: UNet2DConditionModel) -> None:
    """Compute the U-Net's attention with xformers, if its gradients are correct on this machine.

    No gradient passes the VAE, and the text encoders have few tokens: both keep torch's attention.

    Raises:
        UserError: xformers does not run here, or its gradient is missing or wrong.
    """
    try:
        unet.enable_xformers_memory_efficient_attention()
        check_gradients(unet, device="cuda")
    except (RuntimeError, NotImplementedError, ImportError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.attention=xformers does not run on this machine ({reason}). Set model.attention=sdpa."
        ) from error


def check_gradients(unet: UNet2DConditionModel, *, device: torch.device | str) -> None:
    """Compare the gradient of each kind of cross-attention in a U-Net with that of the plain formula.

    For some cards and head sizes, builds of xformers have computed correct images with missing or wrong gradients: a
    run then ends without an error and has learned nothing (facebookresearch/xformers#656).

    Raises:
        UserError: a gradient is wrong.
    """
    kinds = {
        (layer.heads, layer.inner_dim): layer
        for layer in unet.modules()
        if isinstance(layer, Attention) and layer.is_cross_attention
    }
    for (heads, width), layer in kinds.items():
        chosen = deepcopy(layer).to(device)
        plain = deepcopy(chosen)
        plain.set_processor(AttnProcessor())
        expected = _context_gradient(plain)
        difference = (_context_gradient(chosen) - expected).norm() / expected.norm()
        if not difference <= TOLERANCE:
            raise UserError(
                f"model.attention=xformers has wrong gradients on this machine: with {heads} heads of {width // heads} "
                f"they are off by {difference:.0%}. Set model.attention=sdpa."
            )


def upcast_attention(model: nn.Module) -> None:
    """Make every attention layer of a model compute in float32 while it is on the CPU."""
    for layer in model.modules():
        children = dict(layer.named_children())
        for before, after in _LAYERS:
            if children.keys() >= set(before):
                for name in before:
                    children[name].register_forward_hook(_upcast)
                layer.get_submodule(after).register_forward_pre_hook(_downcast)


def _upcast(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.float() if output.device.type == "cpu" else output


def _downcast(layer: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    is_packed = not layer.weight.is_floating_point()  # as those of bitsandbytes
    dtype = layer.compute_dtype if is_packed else layer.weight.dtype
    return tuple(tensor.to(dtype) for tensor in arguments)


def _context_gradient(layer: Attention) -> Tensor:
    """The gradient of a cross-attention layer's context, for a fixed input."""
    weight = layer.to_k.weight
    generator = torch.Generator().manual_seed(0)
    queries, context, weights = (
        torch.randn(1, tokens, width, generator=generator).to(weight)
        for tokens, width in ((64, layer.query_dim), (77, weight.shape[1]), (64, layer.query_dim))
    )
    context.requires_grad_()
    output = layer(queries, encoder_hidden_states=context)
    if not output.requires_grad:
        return torch.zeros_like(context, dtype=torch.float32)
    (gradient,) = torch.autograd.grad((output * weights).float().sum(), context)
    return gradient.float()
