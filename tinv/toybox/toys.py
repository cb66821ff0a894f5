"""Toys: their kind, their colors, and proportions that no caption mentions."""

from dataclasses import dataclass, fields

import numpy as np

from tinv.toybox.palette import Color, random_color

KINDS = ("cat", "dog", "robot", "car", "mug", "teapot", "house", "star")
"""The eight kinds of toy."""
PATTERNS = ("plain", "two", "stripes", "dots")
"""How a toy has its second color; `two` gives it to ears, roofs, handles ..."""
CLOTHED_KINDS = ("cat", "dog", "robot")
"""Kinds that may have a scarf (a robot: a colored lamp) and a belly (a robot: a screen) of another color."""


@dataclass(frozen=True)
class Build:
    """Proportions, each from 0 to 1; their effect depends on the kind."""

    girth: float
    head: float
    breadth: float
    ears: float
    ear_width: float
    ear_tilt: float
    eye_size: float
    tail: float
    curl: float
    variant: float
    frequency: float
    """Of stripes and dots."""
    slant: float
    """Of stripes and dots."""


@dataclass(frozen=True)
class Toy:
    """A toy, independent of the view."""

    kind: str
    """One of `KINDS`."""
    color: Color
    accent: Color
    """The second color; without effect on a plain toy."""
    pattern: str
    """One of `PATTERNS`."""
    build: Build
    eye_color: Color
    trim: Color
    """Roof of a one-colored house, inside of an ear; never in a caption."""
    scarf: Color | None = None
    belly: Color | None = None

    @property
    def extremities(self) -> np.ndarray:
        """The color of ears, paws, handles and roofs, [3]."""
        return self.accent.rgb if self.pattern == "two" else self.color.rgb


def random_build(rng: np.random.Generator) -> Build:
    """Returns random proportions."""
    return Build(*(float(rng.uniform()) for _ in fields(Build)))


def random_toy(rng: np.random.Generator) -> Toy:
    """Returns a random toy of any kind; it may resemble a concept of `tinv.toybox.concepts`."""
    kind = KINDS[rng.integers(len(KINDS))]
    color = random_color(rng)
    is_clothed = kind in CLOTHED_KINDS
    return Toy(
        kind=kind,
        color=color,
        accent=random_color(rng, other_than=color.name),
        pattern=PATTERNS[rng.choice(len(PATTERNS), p=(0.4, 0.3, 0.15, 0.15))],
        build=random_build(rng),
        eye_color=Color(None, float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.8, 1.0))),
        trim=random_color(rng),
        scarf=random_color(rng) if is_clothed and rng.random() < 0.35 else None,
        belly=random_color(rng) if is_clothed and rng.random() < 0.3 else None,
    )
