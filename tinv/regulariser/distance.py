"""Rows are held near the point where they started.

K rows, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tinv.concept import Concept
from tinv.embedding import EmbeddingConfig, LearnedToken
from tinv.errors import UserError
from tinv.models import LatentDiffusion


@dataclass(frozen=True, kw_only=True)
class DistanceRegulariser:
    """The rows' mean distance from their start (Cross Initialization, Pang et al. 2023, arXiv 2312.15905).

    As in the authors' code the distance is not squared: the pull is `weight` for a row alone, however far it has gone.
    Gal et al. 2022 squared it, and found no gain.
    """

    weight: float = 1e-5
    """What a distance of 1 costs; 1e-5 with starts at the text encoder's output, 1e-4 to 1e-2 with those at words."""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise UserError(f"regulariser.weight must be above 0, got {self.weight}; regulariser=none leaves it out")

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Goes with every word."""

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor:
        """weight x mean over the rows of |row - start|, the encoders' added up."""
        distances = [
            (rows_KD - word.start[encoder].to(rows_KD.device)).norm(dim=1).mean()
            for encoder, rows_KD in word.embedding.rows.items()
        ]
        return self.weight * torch.stack(distances).sum()
