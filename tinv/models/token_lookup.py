"""The lens: learned rows seen behind a frozen vocabulary, which stays exactly as it is.

A look-up of ids below V reads the frozen table; ids at and beyond V read the learned rows. Nothing is resized,
nothing is restored, and the gradient of the rows is, to the last bit, the one that training the whole table would
have given them.

Deliberately no subclass of `nn.Embedding`: diffusers' loader and `resize_token_embeddings` rebuild those from
`weight` alone and would drop the rows in silence; over a plain module they raise.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenLookup(nn.Module):
    """A token embedding of V frozen words, over which K learned rows can be laid."""

    def __init__(self, table: nn.Embedding):
        super().__init__()
        self.weight = table.weight
        self.num_embeddings = table.num_embeddings
        self.embedding_dim = table.embedding_dim
        self._rows: Tensor | None = None

    @contextmanager
    def over(self, rows_KD: Tensor | None) -> Iterator[None]:
        """While the block runs, ids V to V + K - 1 mean the given rows."""
        before, self._rows = self._rows, rows_KD
        try:
            yield
        finally:
            self._rows = before

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [..., D] of ids [...], in the dtype of the frozen table."""
        if self._rows is None:
            return F.embedding(ids, self.weight)
        frozen = F.embedding(ids.clamp(max=self.num_embeddings - 1), self.weight)
        learned = F.embedding((ids - self.num_embeddings).clamp(min=0), self._rows).to(frozen.dtype)
        return torch.where((ids >= self.num_embeddings).unsqueeze(-1), learned, frozen)
