"""The twelve toys, and what comes near them.

All are of a hue for which no caption has a word. What else they wear was chosen so that not one of the 80 000 pictures
of the training set comes near; the tests look at every one of them.
"""

import numpy as np

from tinv.toybox.palette import NAMED_COLORS, UNNAMED_HUES, Color, random_shade
from tinv.toybox.toybench import NAMES
from tinv.toybox.toys import Toy, random_build

HUES = dict(zip(("lime", "teal", "magenta"), UNNAMED_HUES, strict=True))
"""What people might call the hues that no caption names."""
VISIBLE_PROPORTIONS = {
    "car": ("girth", "head", "ears", "ear_tilt"),
    "mug": ("girth", "head", "ears"),
    "teapot": ("girth", "head", "ears", "ear_tilt"),
    "star": ("girth", "variant"),
}
"""Kinds that wear nothing but two colours, and the proportions that one sees of them."""
MAX_DIFFERENCE = 0.3
"""How far proportions are apart, from 0 to 1, of toys of the same shape."""


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
    """A toy of these colours; its shades and its proportions are drawn."""
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
    """The name of the one that a toy comes near, if any."""
    return next((name for name in NAMES if are_similar(toy, TOYS[name])), None)


def are_similar(toy: Toy, other: Toy) -> bool:
    """Whether two toys are of the same kind, pattern and colours, and of the same shape as far as one goes by that."""
    if (toy.kind, toy.pattern) != (other.kind, other.pattern) or _hue_name(toy.color) != _hue_name(other.color):
        return False
    has_accent, has_roof = toy.pattern != "plain", toy.kind == "house" and toy.pattern != "two"
    parts = [("accent", has_accent), ("scarf", True), ("belly", True), ("trim", has_roof)]
    if any(_hue_name(getattr(toy, part)) != _hue_name(getattr(other, part)) for part, counts in parts if counts):
        return False
    shapes = ((getattr(toy.build, part), getattr(other.build, part)) for part in VISIBLE_PROPORTIONS.get(toy.kind, ()))
    return all(abs(mine - theirs) <= MAX_DIFFERENCE for mine, theirs in shapes)


def _hue_name(color: Color | None) -> str | None:
    """What people would call a colour."""
    if color is None or color.name:
        return color.name if color else None
    return next(word for word, band in HUES.items() if band.hue[0] <= color.hue <= band.hue[1])
