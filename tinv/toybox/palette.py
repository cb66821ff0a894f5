"""Colors: ten with a name, and hues between them without one."""

import colorsys
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Color:
    """A color, with its name if it has one."""

    name: str | None
    """A key of `NAMED`, or None for a hue between the names."""
    hue: float
    """In [0, 1): 0 is red, 1/3 green, 2/3 blue."""
    saturation: float
    value: float

    @property
    def rgb(self) -> np.ndarray:
        """Red, green, blue in [0, 1], [3] float32."""
        return np.array(colorsys.hsv_to_rgb(self.hue % 1, self.saturation, self.value), np.float32)


@dataclass(frozen=True)
class Band:
    """A range of hue, saturation and value."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]


NAMED_COLORS = {
    "red": Band((-0.02, 0.015), (0.78, 0.95), (0.72, 0.92)),
    "orange": Band((0.06, 0.09), (0.82, 0.98), (0.92, 1.0)),
    "yellow": Band((0.135, 0.16), (0.72, 0.95), (0.92, 1.0)),
    "green": Band((0.30, 0.37), (0.60, 0.85), (0.45, 0.75)),
    "blue": Band((0.59, 0.64), (0.70, 0.92), (0.60, 0.92)),
    "purple": Band((0.74, 0.78), (0.50, 0.75), (0.50, 0.78)),
    "pink": Band((0.91, 0.95), (0.32, 0.50), (0.95, 1.0)),
    "brown": Band((0.05, 0.08), (0.52, 0.70), (0.34, 0.48)),
    "white": Band((0.05, 0.65), (0.0, 0.05), (0.93, 1.0)),
    "black": Band((0.55, 0.70), (0.0, 0.25), (0.08, 0.17)),
}
"""The range of each color name; no two ranges touch."""

UNNAMED_HUES = (
    Band((0.20, 0.26), (0.55, 0.85), (0.70, 0.95)),
    Band((0.41, 0.54), (0.45, 0.80), (0.60, 0.92)),
    Band((0.82, 0.875), (0.50, 0.80), (0.60, 0.90)),
)
"""Lime, teal and magenta: images have these hues, captions never name them."""


def random_shade(rng: np.random.Generator, band: Band, name: str | None) -> Color:
    """Returns a random color of a range."""
    return Color(name, *(float(rng.uniform(*limits)) for limits in (band.hue, band.saturation, band.value)))


def named_color(rng: np.random.Generator, name: str) -> Color:
    """Returns a random shade of a named color."""
    return random_shade(rng, NAMED_COLORS[name], name)


def random_named_color(rng: np.random.Generator, *, other_than: str | None = None) -> Color:
    """Returns a random shade of a random named color."""
    names = [name for name in NAMED_COLORS if name != other_than]
    return named_color(rng, names[rng.integers(len(names))])


def random_color(rng: np.random.Generator, *, unnamed: float = 0.2, other_than: str | None = None) -> Color:
    """Returns a random color, with probability `unnamed` one without a name."""
    if rng.random() < unnamed:
        return random_shade(rng, UNNAMED_HUES[rng.integers(len(UNNAMED_HUES))], None)
    return random_named_color(rng, other_than=other_than)


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Returns a color as [3] float32 in [0, 1]."""
    return Color(None, hue, saturation, value).rgb
