"""AdamW with its state in eight bits."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.optional_deps import remedy


def adamw8bit(
    params: Iterable[Any],
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW8bit, for those who come from `--use_8bit_adam`.

    Its state shrinks to a quarter in the tensors of 4096 numbers or more, as the whole vocabulary that the reference
    script trains. A few rows are less: bitsandbytes keeps their state in 32 bits, and there is nothing to save.

    Args:
        params: the rows, on a CUDA device.
        lr: learning rate.
        betas: decay of the gradient's running mean and of its square's.
        eps: keeps the division finite.
        weight_decay: pulls the rows towards zero.

    Raises:
        UserError: the rows are on no CUDA device, or bitsandbytes is not installed.
    """
    rows = list(params)
    if elsewhere := {row.device.type for row in _flat(rows)} - {"cuda"}:
        raise UserError(
            f"optimizer=adamw8bit needs the rows on a CUDA device, they are on {', '.join(elsewhere)}; take "
            f"optimizer=adamw, which needs no more memory for a few rows"
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"optimizer=adamw8bit needs the package bitsandbytes ({error}){remedy('bitsandbytes')}"
        ) from error
    return AdamW8bit(rows, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)


def _flat(params: Iterable[Any]) -> Iterator[Tensor]:
    """The parameters in a list of them, or of groups of them."""
    for entry in params:
        yield from entry["params"] if isinstance(entry, dict) else [entry]
