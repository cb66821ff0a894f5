"""Which code computes the U-Net's attention: torch's own, or xformers'."""

from copy import deepcopy
from importlib.util import find_spec

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from tinv.errors import UserError

TOLERANCE = 0.05
"""How far a gradient may be from that of plain attention, relative to its norm: bfloat16 needs a hundredth."""


def check_xformers() -> None:
    """Refuse xformers where it cannot run; takes no weights to find out.

    Raises:
        UserError: there is no such package, or no CUDA device.
    """
    if find_spec("xformers") is None:
        raise UserError(
            'model.attention=xformers needs a package that is not installed; pip install "tinv[xformers]", '
            "or write model.attention=sdpa"
        )
    if not torch.cuda.is_available():
        raise UserError("model.attention=xformers needs a CUDA device, and there is none; write model.attention=sdpa")


def use_xformers(unet: UNet2DConditionModel) -> None:
    """Have xformers compute the U-Net's attention, if its gradients are right on this machine.

    The VAE's one layer of attention is never trained through, and the text encoders are short: they keep torch's.

    Raises:
        UserError: xformers does not run here, or has no gradient, or another one than plain attention.
    """
    try:
        unet.enable_xformers_memory_efficient_attention()
        check_gradients(unet, device="cuda")
    except (RuntimeError, NotImplementedError, ImportError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.attention=xformers does not run on this machine ({reason}); write model.attention=sdpa"
        ) from error


def check_gradients(unet: UNet2DConditionModel, *, device: torch.device | str) -> None:
    """Compare each kind of attention in a U-Net with the plain formula, by the gradient of its context.

    Builds of xformers have computed right pictures and no or wrong gradients, for some cards and head sizes: a run
    then ends well and has learned nothing (facebookresearch/xformers#656).

    Raises:
        UserError: naming the kind of attention that has another gradient.
    """
    kinds = {(layer.heads, layer.inner_dim): layer for layer in unet.modules() if _is_cross_attention(layer)}
    for (heads, width), layer in kinds.items():
        chosen = deepcopy(layer).to(device)
        plain = deepcopy(chosen)
        plain.set_processor(AttnProcessor())
        expected = _context_gradient(plain)
        difference = (_context_gradient(chosen) - expected).norm() / expected.norm()
        if not difference <= TOLERANCE:
            raise UserError(
                f"model.attention=xformers has wrong gradients on this machine: with {heads} heads of {width // heads} "
                f"they are off by {difference:.0%}; write model.attention=sdpa"
            )


def _is_cross_attention(layer: torch.nn.Module) -> bool:
    return isinstance(layer, Attention) and layer.is_cross_attention


def _context_gradient(layer: Attention) -> Tensor:
    """The gradient of what a layer of cross-attention is told, for a fixed input."""
    weight = layer.to_k.weight
    draw = torch.Generator().manual_seed(0)
    queries, context, weights = (
        torch.randn(1, tokens, width, generator=draw).to(weight)
        for tokens, width in ((64, layer.query_dim), (77, weight.shape[1]), (64, layer.query_dim))
    )
    context.requires_grad_()
    output = layer(queries, encoder_hidden_states=context)
    if not output.requires_grad:
        return torch.zeros_like(context, dtype=torch.float32)
    (gradient,) = torch.autograd.grad((output * weights).float().sum(), context)
    return gradient.float()
