"""The learned rows: the only parameters that there are.

K rows, D width.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinv.types import Vectors


class Rows(nn.Module):
    """One concept's rows [K, D], a parameter for each text encoder; float32 under every precision."""

    def __init__(self, placeholder: str, start: Mapping[str, Tensor]):
        """Args:
        placeholder: the concept's word.
        start: where the rows begin, by text encoder; float32.
        """
        super().__init__()
        self.placeholder = placeholder
        self.rows = nn.ParameterDict({encoder: nn.Parameter(rows_KD) for encoder, rows_KD in start.items()})

    def vectors(self) -> Vectors:
        """The rows by placeholder and text encoder, as the model's `encode_text` takes them."""
        return {self.placeholder: dict(self.rows.items())}

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        """Follow the module to another device, but never into another precision (Lightning's bf16-true asks for it)."""

        def keep_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device)

        return super()._apply(keep_float32, *args, **kwargs)
