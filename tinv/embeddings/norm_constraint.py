"""Keeping the rows as long as words are.

Without a hold the norm of a learned row grows, to 20 and more where words have 0.4, and such a row drowns the rest of a
prompt: the best documented failure of textual inversion. K rows, V words, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv.embeddings.parameters import TokenParameters


@dataclass(frozen=True)
class NormConstraint:
    """Draws each row towards a length: once after every optimizer step, in place."""

    lengths: Mapping[str, float]
    """By text encoder."""
    strength: float
    """How much of the way in a step, as an exponent of the ratio: 1 all of it, 0 nothing."""

    @property
    def is_exact(self) -> bool:
        """Whether every row has its length after every step."""
        return self.strength == 1

    @torch.no_grad()
    def __call__(self, rows: TokenParameters) -> None:
        """Scale each row [D] by (length / norm) ** strength.

        With strength 1 the row is projected back onto the sphere of that length, as OneTrainer's
        `preserve_embedding_norm` does. With 0.1 it is drawn there gently: the formula of diffusers' advanced DreamBooth
        scripts and of invoke-training (Apache-2.0), which take standard deviations, and one for all rows together.
        """
        for encoder, rows_KD in rows.by_encoder():
            norm_K1 = rows_KD.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows_KD.dtype).tiny)
            rows_KD.mul_((self.lengths[encoder] / norm_K1) ** self.strength)


def mean_norm(table_VD: Tensor) -> float:
    """The mean norm of the vocabulary's words."""
    return table_VD.detach().float().norm(dim=1).mean().item()


def median_norm(table_VD: Tensor) -> float:
    """The median norm of the vocabulary's words."""
    return table_VD.detach().float().norm(dim=1).median().item()
