"""Vectors that no text encoder can use: finite, but all zeros or far too long."""

from collections.abc import Mapping

from torch import Tensor

MAX_NORM = 1e4
"""CLIP's words have norms of about 0.4, T5's of some hundreds; learned vectors of failed runs reach 100."""


def find_unusual_vectors(vectors: Mapping[str, Tensor]) -> str | None:
    """Returns which vectors are all zeros or far too long, for a message; None if no vectors are.

    Args:
        vectors: [K, D] by text encoder or part.
    """
    problems = []
    for name, vectors_KD in vectors.items():
        norms_K = vectors_KD.double().norm(dim=1)  # in float32, squares of 1e30 are infinite
        if num_zeros := int((norms_K == 0).sum()):
            problems.append(f"{num_zeros} of {len(norms_K)} vectors of {name} are all zeros")
        if norms_K.max() > MAX_NORM:
            problems.append(f"the longest vector of {name} has a norm of {norms_K.max():.2g}, where words have about 1")
    return " and ".join(problems) or None
