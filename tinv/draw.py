"""The only source of randomness: numbers that depend on what they are for, never on when they are drawn.

A key such as (seed, step, item, "noise") names one draw. The same key gives the same numbers with 0 workers or 8,
before and after a resume, on every point of a sweep.
"""

from hashlib import blake2b

import torch


def seed_of(*key: int | str) -> int:
    """A 63-bit seed for a key; different keys give unrelated seeds, the same key the same one on every machine."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A generator on the CPU, at the beginning of the stream that the key names."""
    return torch.Generator().manual_seed(seed_of(*key))
