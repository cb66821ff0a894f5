"""What was swept, as axes to draw along."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinv.runs.reader import SweepPointReader
from tinv.sweeps.point_names import format_value, shorten_keys

_MAGNITUDES = 30
"""Positive numbers that span more than this factor are drawn by their logarithm."""


@dataclass(frozen=True)
class Axis:
    """A swept setting."""

    key: str
    name: str
    """As short as tells it from the others."""
    words: list[str] | None
    """The values in their order, if they are no numbers."""
    is_log: bool
    at: list[float | None]
    """Where each point is on it: a number, or the place of a word."""


def axes(keys: Sequence[str], points: Sequence[SweepPointReader]) -> list[Axis]:
    """An axis for each setting that has several values."""
    names = shorten_keys(keys)
    found = [_axis(key, names[key], [point.swept.get(key) for point in points]) for key in keys]
    return [axis for axis in found if len(set(axis.at) - {None}) > 1]


def _axis(key: str, name: str, values: Sequence[str | None]) -> Axis:
    numbers = [None if value is None else _number(value) for value in values]
    if all(number is not None for number, value in zip(numbers, values, strict=True) if value is not None):
        given = [number for number in numbers if number is not None]
        is_log = bool(given) and min(given) > 0 and max(given) / min(given) >= _MAGNITUDES
        return Axis(key, name, None, is_log, numbers)
    words = list(dict.fromkeys(value for value in values if value is not None))
    at = [None if value is None else float(words.index(value)) for value in values]
    return Axis(key, name, [format_value(word) for word in words], False, at)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
