"""AdamW with 8-bit state."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from tinv.errors import UserError
from tinv.optional_deps import install_hint


def adamw8bit(
    params: Iterable[Any],
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Returns bitsandbytes' AdamW8bit, the optimizer of `--use_8bit_adam`.

    It quantizes the state of tensors with 4096 numbers or more, such as the whole vocabulary in diffusers' script. A
    few vectors are smaller: their state stays in 32 bits, and no memory is saved.

    Args:
        params: tensors on a CUDA device, or parameter groups of them.
        lr: learning rate.
        betas: decay rates of the mean of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.

    Raises:
        UserError: a parameter is not on a CUDA device, or bitsandbytes is not installed.
    """
    groups = list(params)
    tensors = [t for group in groups for t in (group["params"] if isinstance(group, dict) else [group])]
    if devices := {tensor.device.type for tensor in tensors} - {"cuda"}:
        raise UserError(
            f"optimizer=adamw8bit needs a CUDA device, but the vectors are on {', '.join(devices)}. Set "
            f"optimizer=adamw, which needs no more memory for a few vectors."
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"optimizer=adamw8bit needs the package bitsandbytes ({error}){install_hint('bitsandbytes')}"
        ) from error
    return AdamW8bit(groups, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
