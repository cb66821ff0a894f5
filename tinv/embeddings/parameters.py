"""The vectors of one learned token: the only trainable parameters.

K vectors, P parts of a token that has parts, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinv.token_parts import NEGATIVE, join_key
from tinv.types import Vectors


class TokenParameters(nn.Module):
    """A parameter [K, D], or [P * K, D] with parts, for each text encoder; always float32."""

    def __init__(
        self,
        placeholder_token: str,
        init_vectors: Mapping[str, Tensor],
        parts: Sequence[str] = (),
        num_negative_vectors: int = 0,
    ):
        """Copies the initial vectors into parameters.

        Args:
            placeholder_token: of the concept.
            init_vectors: by text encoder, [K, D] float32; every part starts from them.
            parts: names of the parts; see `tinv.token_parts`.
            num_negative_vectors: of the token's negative, which starts from the same vectors.
        """
        super().__init__()
        self.placeholder_token, self.parts = placeholder_token, tuple(parts)
        self.weights, self.negative_weights = nn.ParameterDict(), nn.ParameterDict()
        for encoder, init_KD in init_vectors.items():
            self.weights[encoder] = nn.Parameter(torch.cat([init_KD] * (len(parts) or 1)))
            if num_negative_vectors:
                indices = torch.arange(num_negative_vectors) % len(init_KD)
                self.negative_weights[encoder] = nn.Parameter(init_KD[indices])

    def by_encoder(self) -> list[tuple[str, Tensor]]:
        """Returns every parameter with the name of its text encoder."""
        return [*self.weights.items(), *self.negative_weights.items()]

    def vectors(self) -> Vectors:
        """Returns the vectors [K, D] by placeholder token, then by text encoder and part."""
        negative = {join_key(encoder, NEGATIVE): vectors for encoder, vectors in self.negative_weights.items()}
        if not self.parts:
            return {self.placeholder_token: {**self.weights, **negative}}
        by_part = {
            join_key(encoder, part): part_KD
            for encoder, vectors in self.weights.items()
            for part, part_KD in zip(self.parts, vectors.chunk(len(self.parts)), strict=True)
        }
        return {self.placeholder_token: by_part}

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        """Moves to another device but keeps float32; Lightning's `bf16-true` asks for another precision."""

        def keep_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device)

        return super()._apply(keep_float32, *args, **kwargs)
