"""Fewer of many, so that a page stays small."""

from collections.abc import Sequence
from typing import Any, TypeVar

from tinv.runs.reader import Curve

T = TypeVar("T")


def pick_evenly(items: Sequence[T], most: int) -> list[T]:
    """The last, the first, and others between them at even distances."""
    if len(items) <= most:
        return list(items)
    if most <= 1:
        return list(items[-1:]) if most else []
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def shorten(curve: Curve, most: int) -> Curve:
    """A curve with at most so many places, the least and the greatest of each stretch, so that no peak is lost."""
    if len(curve) <= most:
        return curve
    stretches = max(1, (most - 1) // 2)
    kept: set[int] = {len(curve) - 1}
    for i in range(stretches):
        places = range(i * len(curve) // stretches, (i + 1) * len(curve) // stretches)
        kept |= {min(places, key=lambda place: curve[place][1]), max(places, key=lambda place: curve[place][1])}
    return [curve[place] for place in sorted(kept)]


def curve_data(key: int | str, curve: Curve, most: int) -> dict[str, Any]:
    """A curve for the scripts."""
    kept = shorten(curve, most)
    return {"key": key, "x": [step for step, _ in kept], "y": [float(f"{value:.5g}") for _, value in kept]}
