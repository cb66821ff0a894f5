"""The twelve toys, and what comes near them.

All are of a hue for which no caption has a word. What else they wear was chosen so that not one of the 80 000 pictures
of the training set comes near; the tests look at every one of them.
"""

import numpy as np

from tinv.toybox.palette import NAMED, UNNAMED, Colour, shade
from tinv.toybox.toybench import NAMES
from tinv.toybox.toys import Toy, any_build

HUES = dict(zip(("lime", "teal", "magenta"), UNNAMED, strict=True))
"""What people might call the hues that no caption names."""
TELLING = {
    "car": ("girth", "head", "ears", "ear_tilt"),
    "mug": ("girth", "head", "ears"),
    "teapot": ("girth", "head", "ears", "ear_tilt"),
    "star": ("girth", "variant"),
}
"""Kinds that wear nothing but two colours, and the proportions that one sees of them."""
NEAR = 0.3
"""How far proportions are apart, from 0 to 1, of toys of the same shape."""


def _toy(
    kind: str,
    colour: str,
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

    def drawn(word: str) -> Colour:
        return shade(rng, HUES[word], None) if word in HUES else shade(rng, NAMED[word], word)

    return Toy(
        kind=kind,
        colour=drawn(colour),
        accent=drawn(accent),
        pattern=pattern,
        build=any_build(rng),
        eyes=Colour(None, float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.8, 1.0))),
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


def resembles(toy: Toy) -> str | None:
    """The name of the one that a toy comes near, if any."""
    return next((name for name in NAMES if alike(toy, TOYS[name])), None)


def alike(one: Toy, other: Toy) -> bool:
    """Whether two toys are of the same kind, pattern and colours, and of the same shape as far as one goes by that."""
    if (one.kind, one.pattern) != (other.kind, other.pattern) or _word(one.colour) != _word(other.colour):
        return False
    has_accent, has_roof = one.pattern != "plain", one.kind == "house" and one.pattern != "two"
    parts = [("accent", has_accent), ("scarf", True), ("belly", True), ("trim", has_roof)]
    if any(_word(getattr(one, part)) != _word(getattr(other, part)) for part, counts in parts if counts):
        return False
    shapes = ((getattr(one.build, part), getattr(other.build, part)) for part in TELLING.get(one.kind, ()))
    return all(abs(mine - theirs) <= NEAR for mine, theirs in shapes)


def _word(colour: Colour | None) -> str | None:
    """What people would call a colour."""
    if colour is None or colour.name:
        return colour.name if colour else None
    return next(word for word, band in HUES.items() if band.hue[0] <= colour.hue <= band.hue[1])
