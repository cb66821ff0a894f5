"""Reduces lists and curves, so that a page stays small."""

from collections.abc import Sequence
from typing import Any, TypeVar

from tinv.runs.reader import Curve

T = TypeVar("T")


def pick_evenly(items: Sequence[T], count: int) -> list[T]:
    """Returns the last item, the first, and others between them at equal distances."""
    if len(items) <= count:
        return list(items)
    if count <= 1:
        return list(items[-1:]) if count else []
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def shorten_curve(curve: Curve, max_length: int) -> Curve:
    """Returns the minimum and the maximum of each section of a curve, so that no peak is lost."""
    if len(curve) <= max_length:
        return curve
    sections = max(1, (max_length - 1) // 2)
    selected: set[int] = {len(curve) - 1}
    for i in range(sections):
        indices = range(i * len(curve) // sections, (i + 1) * len(curve) // sections)
        selected |= {min(indices, key=lambda index: curve[index][1]), max(indices, key=lambda index: curve[index][1])}
    return [curve[index] for index in sorted(selected)]


def curve_data(key: int | str, curve: Curve, max_length: int) -> dict[str, Any]:
    """Returns a curve as the scripts of the page read it."""
    short = shorten_curve(curve, max_length)
    return {"key": key, "x": [step for step, _ in short], "y": [float(f"{value:.5g}") for _, value in short]}
