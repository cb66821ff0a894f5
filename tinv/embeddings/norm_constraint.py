"""Keeps the norms of learned vectors near those of the vocabulary.

Without a constraint the norm of a learned vector grows to 20 and more, where words have 0.4, and the vector dominates
the rest of a prompt: the best documented failure of textual inversion.

K vectors, V words, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tinv.embeddings.parameters import TokenParameters


@dataclass(frozen=True)
class NormConstraint:
    """Rescales each vector towards a target norm, in place, after every optimizer step."""

    norms: Mapping[str, float]
    """The target norm, by text encoder."""
    strength: float
    """Exponent of the ratio of the norms: 1 sets the norm exactly, 0 does nothing."""

    @property
    def is_exact(self) -> bool:
        """Whether every vector has the target norm after every step."""
        return self.strength == 1

    @torch.no_grad()
    def __call__(self, parameters: TokenParameters) -> None:
        """Multiplies each vector [D] by (target / norm) ** strength.

        Strength 1 projects onto the sphere, as OneTrainer's `preserve_embedding_norm` does. 0.1 is the formula of
        diffusers' advanced DreamBooth scripts and of invoke-training (Apache-2.0), which use standard deviations, and
        one for all vectors together.
        """
        for encoder, vectors_KD in parameters.by_encoder():
            norm_K1 = vectors_KD.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors_KD.dtype).tiny)
            vectors_KD.mul_((self.norms[encoder] / norm_K1) ** self.strength)


def mean_norm(table_VD: Tensor) -> float:
    """Returns the mean norm of the vocabulary's vectors."""
    return table_VD.detach().float().norm(dim=1).mean().item()


def median_norm(table_VD: Tensor) -> float:
    """Returns the median norm of the vocabulary's vectors."""
    return table_VD.detach().float().norm(dim=1).median().item()
