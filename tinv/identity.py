"""Whose checkpoint it is: in what that of another run differs from this one."""

from collections.abc import Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what a checkpoint is of another run; first of all, which concepts it lacks, or has besides."""
    theirs, ours = before["placeholder"].split(), now["placeholder"].split()
    if len(theirs) == len(ours) == 1 or sorted(theirs) == sorted(ours):
        before = {**now, "embedding.ema": 0.0, **before}  # what older checkpoints do not say
        return [f"{key} was {before[key]!r} and is {now[key]!r}" for key in now if before[key] != now[key]]
    return [
        *(f"it knows nothing of {word}, which is learned now" for word in ours if word not in theirs),
        *(f"it learned {word}, too, which is not learned now" for word in theirs if word not in ours),
    ]
