"""The learned rows: the only parameters that there are.

K rows, P parts of a word that has them, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinv.token_parts import NEGATIVE, join_key
from tinv.types import Vectors


class TokenParameters(nn.Module):
    """One concept's rows [K, D], or [P * K, D], a parameter for each text encoder; float32 under every precision."""

    def __init__(self, placeholder: str, start: Mapping[str, Tensor], parts: Sequence[str] = (), num_negative: int = 0):
        """Args:
        placeholder: the concept's word.
        start: where the rows begin, by text encoder, [K, D] float32; each part begins there.
        parts: of a word whose rows depend on where they are used.
        num_negative: how many rows there are besides for what the concept is not, which begin there, too.
        """
        super().__init__()
        self.placeholder_token, self.parts = placeholder, tuple(parts)
        whole = {encoder: torch.cat([rows_KD] * (len(parts) or 1)) for encoder, rows_KD in start.items()}
        self.weights = nn.ParameterDict({encoder: nn.Parameter(rows) for encoder, rows in whole.items()})
        opposite = {encoder: rows_KD[torch.arange(num_negative) % len(rows_KD)] for encoder, rows_KD in start.items()}
        self.negative_weights = nn.ParameterDict(
            {encoder: nn.Parameter(rows) for encoder, rows in opposite.items() if num_negative}
        )

    def by_encoder(self) -> list[tuple[str, Tensor]]:
        """All that learns, each with its text encoder."""
        return [*self.weights.items(), *self.negative_weights.items()]

    def vectors(self) -> Vectors:
        """The rows by placeholder and text encoder, and by part where there are any."""
        opposite = {join_key(encoder, NEGATIVE): rows for encoder, rows in self.negative_weights.items()}
        if not self.parts:
            return {self.placeholder_token: {**self.weights, **opposite}}
        by_part = {
            join_key(encoder, part): rows_KD
            for encoder, rows in self.weights.items()
            for part, rows_KD in zip(self.parts, rows.chunk(len(self.parts)), strict=True)
        }
        return {self.placeholder_token: by_part}

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        """Follow the module to another device, but never into another precision (Lightning's bf16-true asks for it)."""

        def keep_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device)

        return super()._apply(keep_float32, *args, **kwargs)
