"""The only source of randomness: numbers that depend on what they are for, never on when they are drawn.

A key such as (seed, step, item, "noise") names one draw. The same key gives the same numbers with 0 workers or 8,
before and after a resume, on every point of a sweep.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """A 63-bit seed for a key; different keys give unrelated seeds, the same key the same one on every machine."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A generator on the CPU, at the beginning of the stream that the key names."""
    return torch.Generator().manual_seed(seed_of(*key))


def normal_pair(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Two standard normal [2, B, ...] float32 for B seeds, the posterior's and the diffusion's of each sample.

    Drawn on the CPU, so that a run sees the same noise on every kind of device.
    """
    drawn = [torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn, dim=1)
