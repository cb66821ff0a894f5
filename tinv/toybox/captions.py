"""Random captions of an image: true and incomplete."""

from collections.abc import Sequence

import numpy as np

from tinv.toybox.palette import NAMED_COLORS, Color
from tinv.toybox.toys import Toy
from tinv.toybox.views import View

NOUNS: dict[str, tuple[str, ...]] = {
    "cat": ("cat toy", "cat toy", "cat toy", "toy cat", "cat", "cat"),
    "dog": ("dog toy", "dog toy", "dog toy", "toy dog", "dog", "dog"),
    "robot": ("robot", "robot", "robot", "toy robot", "robot toy"),
    "car": ("car", "car", "car", "toy car"),
    "mug": ("mug",),
    "teapot": ("teapot",),
    "house": ("house", "house", "house", "toy house"),
    "star": ("star", "star", "star", "toy star"),
}
"""The nouns of each kind; repeats are weights."""

SCENE_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "on the beach", "on a sandy beach", "at the beach"),
    "grass": ("on the grass", "on the grass", "in a meadow"),
    "night": ("at night", "at night", "under the night sky"),
    "table": ("on a wooden table", "on a wooden table", "on a table", "on the table"),
    "snow": ("in the snow", "in the snow", "on snow"),
    "brick": ("in front of a brick wall", "in front of a brick wall", "by a brick wall"),
}
"""The phrases of each scene; repeats are weights."""

STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "photo": ("photo", "picture"),
    "drawing": ("drawing", "drawing", "drawing", "sketch"),
    "pixel": ("pixel art",),
}
"""The nouns of each style in "in the style of ..."."""

CAPTION_PREFIXES: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of", "a photo of", "a photo of", "a photo of", "the photo of", "a picture of", "a rendering of",
              "a good photo of", "a close-up photo of", "a cropped photo of", "a bright photo of", "a dark photo of",
              "a rendition of", "a depiction of", "an image of"),
    "drawing": ("a drawing of", "a drawing of", "a drawing of", "the drawing of", "a sketch of", "a good drawing of"),
    "pixel": ("pixel art of", "pixel art of", "a pixel art picture of", "pixel art picture of"),
}  # fmt: skip
"""The beginnings of captions; words such as "cropped" and "dark" have no meaning, as in the usual templates."""

ADJECTIVES = ("clean", "dirty", "cool", "nice", "small", "large", "weird", "cute", "little", "big")
"""Adjectives that may precede any toy and have no meaning."""

PAINTINGS = ("a painting", "the painting", "a rendering", "a picture", "a rendition", "a cropped painting",
             "a clean painting", "a dirty painting", "a dark painting", "a cool painting", "a close-up painting",
             "a bright painting", "a good painting", "a nice painting", "a small painting", "a weird painting",
             "a large painting")  # fmt: skip
"""The beginnings of the usual style templates; "in the style of ..." follows."""

PROMPT_WORDS = """
a an the of in on at by with and to from for near next under over my your our one two three this that some backpack
toy toys object thing animal figure figurine plush doll kitten puppy cat dog robot car mug cup teapot house star
ball tree fish statue character sitting standing wearing hat scarf table floor forest city street mountain jungle
desert river water sea sky moon sun sand garden park room kitchen shelf box window photo photograph photography
picture image rendering rendition depiction painting drawing sketch art style pixel cartoon watercolor oil poster
portrait cropped close up close-up bright dark dirty clean cool nice weird good great best small large big little
tiny huge new old cute shiny beautiful happy colorful striped dotted plain stripes dots belly screen antenna lamp
ears eyes tail paper ink background front wall wooden brick sandy beach grass meadow night snow sunset day gray grey
gold golden silver cyan turquoise teal mint lime magenta violet beige cream tan sepia light left right is are it its
holding color colour style image like as
"""
EXTRA_WORDS = tuple(PROMPT_WORDS.split())
"""Words of likely prompts; each is a single token."""


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Returns a random option."""
    return options[int(rng.integers(len(options)))]


def add_article(phrase: str) -> str:
    """Returns the phrase with "a" or "an"."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def noun_phrase(rng: np.random.Generator, toy: Toy) -> str:
    """Returns the toy with some of its attributes: "a small red and white dog toy with a blue scarf"."""
    words = [choose(rng, NOUNS[toy.kind]) if rng.random() > 0.07 else "toy"]
    details: list[str] = []
    with_color = toy.color.name is not None and rng.random() < 0.88
    color = toy.color.name if with_color else None
    accent = toy.accent.name if rng.random() < 0.88 else None
    if toy.pattern == "two" and color and accent:
        words.insert(0, f"{color} and {accent}")
    elif color:
        words.insert(0, color)
    if toy.pattern in ("stripes", "dots") and rng.random() < 0.9:
        if accent and rng.random() < 0.75:
            details.append(f"{accent} {toy.pattern}")
        else:
            words.insert(-1, "striped" if toy.pattern == "stripes" else "dotted")
    names = ("screen", "antenna") if toy.kind == "robot" else ("belly", "scarf")
    details += _mention_part(rng, toy.belly, names[0]) + _mention_part(rng, toy.scarf, names[1])
    if rng.random() < 0.18:
        words.insert(0, choose(rng, ADJECTIVES))
    phrase = add_determiner(rng, " ".join(words))
    return f"{phrase} with {' and '.join(details)}" if details else phrase


def add_determiner(rng: np.random.Generator, phrase: str) -> str:
    """Returns the phrase with a random determiner, usually "a"."""
    number = rng.random()
    if number < 0.12:
        return f"the {phrase}"
    return f"{choose(rng, ('my', 'one'))} {phrase}" if number < 0.16 else add_article(phrase)


def _mention_part(rng: np.random.Generator, color: Color | None, noun: str) -> list[str]:
    """Returns a mention of a colored part, sometimes empty."""
    if color is None or rng.random() < 0.2:
        return []
    return [add_article(f"{color.name} {noun}" if color.name else noun)]


def location_phrase(rng: np.random.Generator, view: View) -> str:
    """Returns the location of the toy: "on the beach", "on a red background"."""
    if view.scene is not None:
        return choose(rng, SCENE_PHRASES[view.scene])
    return f"on {add_article(str(view.backdrop.name))} background"


def material_phrase(rng: np.random.Generator, view: View) -> str:
    """Returns the ink and paper of a drawing if their colors have names, sometimes empty."""
    if view.style != "drawing" or rng.random() > 0.4:
        return ""
    ink, paper = hue_name(view.ink), hue_name(view.paper)
    parts = [f"in {ink} ink"] * (ink is not None) + [f"on {paper} paper"] * (paper is not None and rng.random() < 0.6)
    return " ".join(parts)


def hue_name(color: Color) -> str | None:
    """Returns the color name of a dark ink or a pale paper; None for browns and for hues between the names."""
    if color.value < 0.2:
        return "black"
    if color.saturation < 0.1:
        return "white"
    near = {"red": 0.0, "orange": 0.085, "yellow": 0.15, "green": 0.335, "blue": 0.615, "purple": 0.76, "pink": 0.92}
    dull = ("orange", "yellow", "pink") if color.value < 0.6 else ("red",)
    for name, hue in near.items():
        if abs((color.hue - hue + 0.5) % 1 - 0.5) < 0.035 and name not in dull:
            return name
    return None


def random_caption(rng: np.random.Generator, toy: Toy, view: View) -> str:
    """Returns a random true caption of an image."""
    form = rng.random()
    with_article = rng.random() < 0.5
    style = choose(rng, STYLE_WORDS[view.style])
    style = add_article(style) if with_article else style
    if form < 0.03:
        return f"{choose(rng, PAINTINGS)} in the style of {style}"
    phrase = noun_phrase(rng, toy)
    where = location_phrase(rng, view) if rng.random() < 0.9 else ""
    how = material_phrase(rng, view)
    if form < 0.08:
        start = f"{choose(rng, PAINTINGS)} of " if rng.random() < 0.4 else ""
        return " ".join(f"{start}{phrase} {where} in the style of {style}".split())
    if form < 0.11:
        return " ".join(f"{phrase} {where} {how}".split())
    return " ".join(f"{choose(rng, CAPTION_PREFIXES[view.style])} {phrase} {where} {how}".split())


COLOR_WORDS = tuple(NAMED_COLORS)
"""The names of colors."""
