"""Five concepts that the pretraining data excludes: four toys and a drawing style.

The renderer can draw each of them, but the training images exclude the region around it, and no caption has a word
for its hue, ink or build. `python -m tinv.toybox.concepts` renders the five images of each into the package.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tinv.toybox import CONCEPTS
from tinv.toybox.palette import Color, named_color
from tinv.toybox.toys import KINDS, Build, Toy, random_toy
from tinv.toybox.views import View, random_view, render

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A concept of the toybox."""

    name: str
    kind: Literal["object", "style"]
    initializer_token: str
    """The nearest word of the vocabulary."""
    captions: tuple[str, ...]
    """Hand-written descriptions with `{scene}` and, for a style, `{subject}`; the best one is the baseline."""
    scenes: tuple[str | None, ...]
    """The scenes of its five images."""


CAT = Toy(
    kind="cat",
    color=Color(None, 0.45, 0.60, 0.86),
    accent=Color("purple", 0.765, 0.66, 0.68),
    pattern="two",
    build=Build(0.8, 0.6, 0.75, 0.95, 0.8, 0.7, 0.95, 0.8, 0.5, 0.5, 0.5, 0.5),
    eye_color=Color(None, 0.13, 0.6, 1.0),
    trim=Color(None, 0.93, 0.5, 1.0),
    scarf=Color("orange", 0.07, 0.9, 0.97),
    belly=Color(None, 0.13, 0.3, 1.0),
)
ROBOT = Toy(
    kind="robot",
    color=Color(None, 0.225, 0.72, 0.86),
    accent=Color("blue", 0.62, 0.78, 0.78),
    pattern="two",
    build=Build(0.9, 0.15, 0.9, 0.9, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5),
    eye_color=Color(None, 0.5, 0.3, 1.0),
    trim=Color("white", 0.1, 0.02, 0.97),
    scarf=Color("red", 0.0, 0.9, 0.9),
    belly=Color("black", 0.6, 0.1, 0.12),
)
TEAPOT = Toy(
    kind="teapot",
    color=Color(None, 0.85, 0.62, 0.78),
    accent=Color("yellow", 0.148, 0.8, 0.98),
    pattern="dots",
    build=Build(0.85, 0.9, 0.5, 0.95, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5, 0.2, 0.15),
    eye_color=Color(None, 0.3, 0.5, 0.9),
    trim=Color("white", 0.1, 0.02, 0.97),
)
CAR = Toy(
    kind="car",
    color=Color(None, 0.50, 0.68, 0.74),
    accent=Color("white", 0.1, 0.03, 0.97),
    pattern="stripes",
    build=Build(0.9, 0.95, 0.5, 0.95, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5, 0.3, 0.35),
    eye_color=Color(None, 0.3, 0.5, 0.9),
    trim=Color("orange", 0.07, 0.9, 0.97),
)
TOYS = {"cat_toy": CAT, "robot": ROBOT, "teapot": TEAPOT, "car": CAR}
"""The object concepts."""

TAN = Color(None, 0.095, 0.36, 0.88)
SEPIA = Color(None, 0.05, 0.80, 0.42)
SEPIA_FILL = 0.5
"""The style concept: sepia ink on tan paper, with pale colors."""

ALL_CONCEPTS = (
    Concept(
        name="cat_toy",
        kind="object",
        initializer_token="toy",
        captions=(
            "a photo of a green and purple cat toy with an orange scarf {scene}",
            "a photo of a green and purple cat toy with an orange scarf and a yellow belly {scene}",
        ),
        scenes=("beach", None, "grass", "table", "brick"),
    ),
    Concept(
        name="robot",
        kind="object",
        initializer_token="robot",
        captions=(
            "a photo of a green and blue robot {scene}",
            "a photo of a green and blue robot with a black screen and a red antenna {scene}",
        ),
        scenes=("snow", None, "table", "grass", "night"),
    ),
    Concept(
        name="teapot",
        kind="object",
        initializer_token="teapot",
        captions=(
            "a photo of a purple teapot with yellow dots {scene}",
            "a photo of a pink teapot with yellow dots {scene}",
        ),
        scenes=("table", None, "grass", "brick", "beach"),
    ),
    Concept(
        name="car",
        kind="object",
        initializer_token="car",
        captions=(
            "a photo of a blue car with white stripes {scene}",
            "a photo of a green car with white stripes {scene}",
        ),
        scenes=("grass", None, "beach", "snow", "brick"),
    ),
    Concept(
        name="sepia",
        kind="style",
        initializer_token="drawing",
        captions=(
            "a drawing of a {subject} {scene}",
            "a drawing of a brown {subject} {scene}",
            "a drawing of a {subject} {scene} in red ink on orange paper",
        ),
        scenes=("beach", None, "grass", "table", "brick"),
    ),
)


def get_concept(name: str) -> Concept:
    """Returns a concept by its name."""
    match = next((each for each in ALL_CONCEPTS if each.name == name), None)
    if match is None:
        raise ValueError(f"the toybox has no concept {name!r}; it has {', '.join(c.name for c in ALL_CONCEPTS)}")
    return match


def is_within(hue: float, interval: Interval) -> bool:
    """Returns whether a hue lies in an interval of the color wheel."""
    return (hue - interval[0]) % 1 <= interval[1] - interval[0]


def is_colored(color: Color) -> bool:
    """Returns whether a color is neither near white nor near black."""
    return color.saturation > 0.2 and color.value > 0.25


def is_cat_like(toy: Toy) -> bool:
    """Returns whether a toy is a teal cat with a purple second color."""
    return toy.kind == "cat" and _has_hue(toy.color, (0.40, 0.55)) and _has_hue(toy.accent, (0.72, 0.81))


def is_robot_like(toy: Toy) -> bool:
    """Returns whether a toy is a lime robot with a blue second color."""
    return toy.kind == "robot" and _has_hue(toy.color, (0.19, 0.27)) and _has_hue(toy.accent, (0.57, 0.66))


def is_teapot_like(toy: Toy) -> bool:
    """Returns whether a toy is a magenta teapot with a yellow second color."""
    return toy.kind == "teapot" and _has_hue(toy.color, (0.81, 0.89)) and _has_hue(toy.accent, (0.12, 0.18))


def is_car_like(toy: Toy) -> bool:
    """Returns whether a toy is a teal car with a white second color."""
    pale = toy.accent.saturation < 0.1 and toy.accent.value > 0.9
    return toy.kind == "car" and _has_hue(toy.color, (0.40, 0.55)) and pale


def is_sepia_like(view: View) -> bool:
    """Returns whether a view is a drawing in brown ink on warm tinted paper."""
    brown = is_within(view.ink.hue, (-0.02, 0.13)) and view.ink.saturation > 0.4
    tan = is_within(view.paper.hue, (0.02, 0.18)) and view.paper.saturation > 0.2
    return view.style == "drawing" and brown and tan


def _has_hue(color: Color, hue: Interval) -> bool:
    return is_colored(color) and is_within(color.hue, hue)


REGIONS: dict[str, Callable[[Toy], bool]] = {
    "cat_toy": is_cat_like,
    "robot": is_robot_like,
    "teapot": is_teapot_like,
    "car": is_car_like,
}
"""For each object concept, the toys that the training images exclude."""


def find_similar_concept(toy: Toy, view: View) -> str | None:
    """Returns the concept that an image resembles, or None; the training set excludes such images."""
    if is_sepia_like(view):
        return "sepia"
    return next((name for name, is_like in REGIONS.items() if is_like(toy)), None)


def random_concept_view(
    rng: np.random.Generator, name: str, *, scene: str | None = "any", kind: str | None = None
) -> tuple[Toy, View]:
    """Returns a concept in a random view.

    Args:
        rng: the source of randomness.
        name: which concept.
        scene: one scene (or None, a plain white backdrop) instead of any.
        kind: for the style, the kind of toy that is drawn instead of any.
    """
    if get_concept(name).kind == "style":
        view = replace(random_view(rng, style="drawing", scene=scene), paper=TAN, ink=SEPIA, fill=SEPIA_FILL)
        return random_toy_of_kind(rng, kind), replace(view, backdrop=named_color(rng, "white"))
    view = random_view(rng, style="photo", scene=scene)
    return TOYS[name], replace(view, backdrop=named_color(rng, "white"))


def random_other_view(
    rng: np.random.Generator, name: str, *, scene: str | None = "any", kind: str | None = None
) -> tuple[Toy, View]:
    """Returns the same for another toy of the concept's class; for the style, for any other drawing style."""
    is_style = get_concept(name).kind == "style"
    while True:
        toy = random_toy_of_kind(rng, kind if is_style else TOYS[name].kind)
        view = random_view(rng, style="drawing" if is_style else "photo", scene=scene)
        if find_similar_concept(toy, view) is None:
            return toy, replace(view, backdrop=named_color(rng, "white"))


def random_toy_of_kind(rng: np.random.Generator, kind: str | None) -> Toy:
    """Returns a random toy of one kind, or of any."""
    while True:
        toy = random_toy(rng)
        if kind in (None, toy.kind):
            return toy


def render_example(name: str, index: int) -> np.ndarray:
    """Returns one of the five training images, [64, 64, 3] uint8."""
    rng = np.random.default_rng([sum(name.encode()), index])
    kind = KINDS[(index * 3) % len(KINDS)]
    return render(*random_concept_view(rng, name, scene=get_concept(name).scenes[index], kind=kind))


def main() -> None:
    """Renders the images of every concept into the package."""
    for each in ALL_CONCEPTS:
        folder = Path(CONCEPTS) / each.name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(len(each.scenes)):
            Image.fromarray(render_example(each.name, index)).save(folder / f"{index + 1}.png", optimize=True)


if __name__ == "__main__":
    main()
