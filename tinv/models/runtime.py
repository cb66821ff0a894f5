"""How the frozen weights run: attention, what is kept for the backward pass, compilation, matrix products."""

from typing import Literal

import torch
from torch import nn

from tinv.errors import UserError
from tinv.models.attention import check_xformers, use_xformers
from tinv.models.checkpointing import checkpoint_activations
from tinv.models.compiling import check_compiler, compile_unet
from tinv.models.upcast import upcast_attention

AttentionKind = Literal["sdpa", "xformers"]


def check_runtime(*, attention: AttentionKind, compile: bool) -> None:
    """Find out whether this machine can do what is asked for, before any weight is loaded.

    Raises:
        UserError: it cannot; says what is missing.
    """
    if attention == "xformers":
        check_xformers()
    if compile:
        check_compiler()


def check_loss_scale(dtype: str | None, precision: str | int | None) -> None:
    """Refuse float16 where nothing scales the loss: the gradient of a pixel would be too small for it, and vanish.

    Args:
        dtype: of the frozen weights; None is float32.
        precision: as Lightning's Trainer takes it; None is 32-true.

    Raises:
        UserError: it would.
    """
    if precision == "16-true" or (dtype == "float16" and precision not in ("16-mixed", "16", 16)):
        raise UserError(
            f"trainer.precision={precision} with model.dtype={dtype} loses small gradients: nothing scales the loss; "
            f"write trainer.precision=16-mixed on a GPU, or model.dtype=bfloat16 trainer.precision=32-true"
        )


def prepare(
    model: nn.Module,
    *,
    attention: AttentionKind,
    gradient_checkpointing: bool,
    compile: bool,
    tf32: bool,
) -> None:
    """Set up a loaded model as the settings say.

    Args:
        model: has a `unet`, and its text encoders among its children.
        attention: `sdpa` is torch's own; `xformers` replaces it in the U-Net.
        gradient_checkpointing: in the U-Net and every text encoder; the same gradients for less memory and more time.
        compile: the U-Net's training step, for one shape of batches.
        tf32: let float32 matrix products round to 10 bits of mantissa where the device is faster for it. This is one
            switch for the whole process, so False turns it off again: the next run of a sweep starts from its own
            settings.

    Raises:
        UserError: the machine cannot do it after all.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    unet = model.get_submodule("unet")
    if attention == "xformers":
        use_xformers(unet)
    if unet.dtype != torch.float32:
        upcast_attention(model)
    if gradient_checkpointing:
        checkpoint_activations(model)
    if compile:
        compile_unet(unet)
