"""The twelve toys, and a test of similarity to them.

All have a hue that no caption names. Their other attributes were chosen so that none of the 80,000 training images is
similar to them; a test checks every training image.
"""

import numpy as np

from tinv.toybox.palette import NAMED_COLORS, UNNAMED_HUES, Color, random_shade
from tinv.toybox.toybench import NAMES
from tinv.toybox.toys import Toy, random_build

HUES = dict(zip(("lime", "teal", "magenta"), UNNAMED_HUES, strict=True))
"""The hues that no caption names."""
VISIBLE_PROPORTIONS = {
    "car": ("girth", "head", "ears", "ear_tilt"),
    "mug": ("girth", "head", "ears"),
    "teapot": ("girth", "head", "ears", "ear_tilt"),
    "star": ("girth", "variant"),
}
"""The visible proportions of kinds that have only two colors to distinguish them."""
MAX_DIFFERENCE = 0.3
"""The largest difference of a proportion, from 0 to 1, between similar toys."""


def _toy(
    kind: str,
    color: str,
    accent: str,
    pattern: str,
    *,
    seed: int,
    scarf: str | None = None,
    belly: str | None = None,
    trim: str = "white",
) -> Toy:
    """Returns a toy of these colors with random shades and proportions."""
    rng = np.random.default_rng(seed)

    def drawn(word: str) -> Color:
        return random_shade(rng, HUES[word], None) if word in HUES else random_shade(rng, NAMED_COLORS[word], word)

    return Toy(
        kind=kind,
        color=drawn(color),
        accent=drawn(accent),
        pattern=pattern,
        build=random_build(rng),
        eye_color=Color(None, float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.8, 1.0))),
        trim=drawn(trim),
        scarf=drawn(scarf) if scarf else None,
        belly=drawn(belly) if belly else None,
    )


TOYS: dict[str, Toy] = {
    "lime_cat": _toy("cat", "lime", "brown", "two", scarf="red", seed=1),
    "teal_dog": _toy("dog", "teal", "orange", "two", scarf="yellow", belly="white", seed=1),
    "magenta_dog": _toy("dog", "magenta", "white", "dots", scarf="green", seed=1),
    "magenta_robot": _toy("robot", "magenta", "yellow", "two", scarf="red", belly="blue", seed=1),
    "teal_robot": _toy("robot", "teal", "brown", "stripes", scarf="orange", seed=1),
    "lime_car": _toy("car", "lime", "purple", "stripes", trim="red", seed=1),
    "teal_mug": _toy("mug", "teal", "yellow", "stripes", trim="pink", seed=1),
    "magenta_mug": _toy("mug", "magenta", "lime", "dots", trim="brown", seed=1),
    "lime_teapot": _toy("teapot", "lime", "magenta", "dots", seed=1),
    "teal_house": _toy("house", "teal", "pink", "dots", trim="purple", seed=1),
    "magenta_house": _toy("house", "magenta", "white", "stripes", trim="teal", seed=1),
    "lime_star": _toy("star", "lime", "black", "stripes", seed=2),
}


def find_similar_toy(toy: Toy) -> str | None:
    """Returns the name of the toy that a toy is similar to, or None."""
    return next((name for name in NAMES if are_similar(toy, TOYS[name])), None)


def are_similar(toy: Toy, other: Toy) -> bool:
    """Returns whether two toys have the same kind, pattern, colors and visible proportions."""
    if (toy.kind, toy.pattern) != (other.kind, other.pattern) or _hue_name(toy.color) != _hue_name(other.color):
        return False
    has_accent, has_roof = toy.pattern != "plain", toy.kind == "house" and toy.pattern != "two"
    parts = [("accent", has_accent), ("scarf", True), ("belly", True), ("trim", has_roof)]
    if any(_hue_name(getattr(toy, part)) != _hue_name(getattr(other, part)) for part, counts in parts if counts):
        return False
    shapes = ((getattr(toy.build, part), getattr(other.build, part)) for part in VISIBLE_PROPORTIONS.get(toy.kind, ()))
    return all(abs(mine - theirs) <= MAX_DIFFERENCE for mine, theirs in shapes)


def _hue_name(color: Color | None) -> str | None:
    """Returns the name of a color or of its hue."""
    if color is None or color.name:
        return color.name if color else None
    return next(word for word, band in HUES.items() if band.hue[0] <= color.hue <= band.hue[1])
