"""How the frozen weights run: attention, gradient checkpointing, compilation, float32 precision."""

import os
import shutil
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tinv.errors import UserError
from tinv.models.attention import check_xformers, upcast_attention, use_xformers

AttentionKind = Literal["sdpa", "xformers"]
_COMPILERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "cl", "icx")
_recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
"""A frozen model draws no random numbers, so their state need not be saved."""


def check_runtime(*, attention: AttentionKind, compile: bool) -> None:
    """Check that this machine can run a model as set, before any weight is loaded.

    Raises:
        UserError: xformers or a C++ compiler is needed and missing.
    """
    if attention == "xformers":
        check_xformers()
    if not compile:
        return
    from_environment = [os.environ[variable] for variable in ("CXX", "CC") if os.environ.get(variable)]
    if not any(shutil.which(compiler) for compiler in (*from_environment, *_COMPILERS)):
        raise UserError(
            "model.compile=true needs a C++ compiler, and none was found. Install g++ or clang++, name yours in the "
            "environment variable CXX, or set model.compile=false."
        )


def check_attention(attention: AttentionKind, *, has_unet: bool) -> None:
    """Refuse xformers for a denoiser that is no U-Net.

    Raises:
        UserError: it is none.
    """
    if attention == "xformers" and not has_unet:
        raise UserError("model.attention=xformers: is for Stable Diffusion 1, 2 and XL. Set model.attention=sdpa.")


def check_loss_scale(dtype: str | None, precision: str | int | None) -> None:
    """Refuse float16 without a scaled loss: most gradients would be too small for float16 and become zero.

    `precision` is Lightning's. None is float32.

    Raises:
        UserError: float16 would be used without a scaled loss.
    """
    if precision == "16-true" or (dtype == "float16" and precision not in ("16-mixed", "16", 16)):
        raise UserError(
            f"trainer.precision={precision} with model.dtype={dtype} loses small gradients, because the loss is not "
            f"scaled. Set trainer.precision=16-mixed on a GPU, or model.dtype=bfloat16 trainer.precision=32-true."
        )


def prepare(model: Any, *, attention: AttentionKind, gradient_checkpointing: bool, compile: bool, tf32: bool) -> None:
    """Applies the settings of `load` to a loaded model.

    `tf32` is global to the process, so False turns it off again for the next run of a sweep.

    Raises:
        UserError: the machine cannot run the model like this.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    if attention == "xformers":
        use_xformers(model.denoiser)
    if model.family.has_unet and model.denoiser.dtype != torch.float32:
        upcast_attention(model)
    if gradient_checkpointing:
        checkpoint_activations(model)
    if compile:
        compile_denoiser(model.denoiser)


def checkpoint_activations(model: nn.Module) -> None:
    """Make the denoiser and every text encoder of a model save only the inputs of their layers for the backward pass.

    The gradients do not change, to the last bit. transformers' own switch would have no effect: its layers look at it
    in training mode only, and the frozen model is always in evaluation mode. diffusers' switch is for the U-Net alone:
    with it, the transformer of Chroma runs half of its layers without their mask (diffusers 0.42.1).
    """
    layers: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, UNet2DConditionModel):
            module.enable_gradient_checkpointing(_recompute)
        elif isinstance(module, ModelMixin):
            layers.update(layer for part in module.children() if isinstance(part, nn.ModuleList) for layer in part)
        elif isinstance(module, GradientCheckpointingLayer):
            layers.add(module)
    for layer in layers:
        layer.forward = partial(_recompute, layer.forward)


def set_compile_cache(folder: Path) -> None:
    """Make torch keep compiled code in a folder for later runs; its default folder is emptied at each reboot.

    A `TORCHINDUCTOR_CACHE_DIR` that the user has set is respected; torch sets it to its default when it is imported.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default_cache_dir()) == default_cache_dir():
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compile_denoiser(denoiser: nn.Module) -> None:
    """Compile the denoiser for the one batch shape of training: minutes at the first step, then faster.

    Without gradients, so for samples and `val/loss`, it runs uncompiled: every other shape would have to be
    compiled, too, and `val/loss` stays comparable between runs with and without compilation.

    The first training step raises a UserError if compilation fails.
    """
    plain = denoiser.forward
    compiled = torch.compile(plain, dynamic=False)

    @wraps(plain)
    def forward(*arguments: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return plain(*arguments, **options)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(*arguments, **options)
        except TorchDynamoException as error:
            reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            raise UserError(
                f"model.compile=true: the denoiser cannot be compiled here ({reason}). Set model.compile=false."
            ) from error

    denoiser.forward = forward
