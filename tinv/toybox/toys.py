"""What a toy is: its kind, its colours, and the proportions that no caption names."""

from dataclasses import dataclass, fields

import numpy as np

from tinv.toybox.palette import Color, random_color

KINDS = ("cat", "dog", "robot", "car", "mug", "teapot", "house", "star")
"""The eight kinds of toy; a judge tells them apart by their outlines."""
PATTERNS = ("plain", "two", "stripes", "dots")
"""How a toy wears its second colour; `two` gives ears, roofs, handles ... the second colour."""
CLOTHED_KINDS = ("cat", "dog", "robot")
"""Kinds that may wear a scarf (a robot: a coloured lamp) and have a belly (a robot: a screen) of another colour."""


@dataclass(frozen=True)
class Build:
    """Proportions, each from 0 to 1; what each one moves depends on the kind."""

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
    """One toy, the same in every picture of it."""

    kind: str
    """One of `KINDS`."""
    color: Color
    accent: Color
    """The second colour; without effect on a plain toy."""
    pattern: str
    """One of `PATTERNS`."""
    build: Build
    eye_color: Color
    trim: Color
    """Roof of a one-coloured house, inside of an ear: seen, never named."""
    scarf: Color | None = None
    belly: Color | None = None

    @property
    def extremities(self) -> np.ndarray:
        """Colour of ears, paws, handles, roofs: [3]."""
        return self.accent.rgb if self.pattern == "two" else self.color.rgb


def random_build(rng: np.random.Generator) -> Build:
    """Random proportions."""
    return Build(*(float(rng.uniform()) for _ in fields(Build)))


def random_toy(rng: np.random.Generator) -> Toy:
    """A random toy of any kind; it may resemble a concept (`tinv.toybox.concepts` tells)."""
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
