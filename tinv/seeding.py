"""Random numbers as a function of a key, such as (seed, step, item, "noise").

The same key gives the same numbers with any number of workers, after a resume, and in every run of a sweep.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """Returns a 63-bit seed for a key, the same on every machine; seeds of different keys are unrelated."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Returns a CPU generator, seeded by a key."""
    return torch.Generator().manual_seed(seed_of(*key))


def normal_pair(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Returns standard normal noise [2, B, *shape], float32, for B seeds: for the VAE's posterior and for diffusion.

    Drawn on the CPU, so that it is the same for every device.
    """
    noise = [torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise, dim=1)
