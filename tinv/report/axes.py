"""The swept settings as axes of charts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinv.runs.reader import SweepPointReader
from tinv.sweeps.point_names import format_value, shorten_keys

_LOG_RATIO = 30
"""Positive numbers whose ratio exceeds this have a logarithmic axis."""


@dataclass(frozen=True)
class Axis:
    """A swept setting."""

    key: str
    name: str
    """The shortest unambiguous name."""
    words: list[str] | None
    """The values in their order, if they are not numbers."""
    is_log: bool
    at: list[float | None]
    """The position of each point: a number, or the index of a word."""


def make_axes(keys: Sequence[str], points: Sequence[SweepPointReader]) -> list[Axis]:
    """Returns an axis for each setting that has several values."""
    names = shorten_keys(keys)
    axes = [_make_axis(key, names[key], [point.swept.get(key) for point in points]) for key in keys]
    return [axis for axis in axes if len(set(axis.at) - {None}) > 1]


def _make_axis(key: str, name: str, values: Sequence[str | None]) -> Axis:
    numbers = [None if value is None else _parse_number(value) for value in values]
    if all(number is not None for number, value in zip(numbers, values, strict=True) if value is not None):
        present = [number for number in numbers if number is not None]
        is_log = bool(present) and min(present) > 0 and max(present) / min(present) >= _LOG_RATIO
        return Axis(key, name, None, is_log, numbers)
    words = list(dict.fromkeys(value for value in values if value is not None))
    at = [None if value is None else float(words.index(value)) for value in values]
    return Axis(key, name, [format_value(word) for word in words], False, at)


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
