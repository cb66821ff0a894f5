"""Views of a toy: the scene, the style, the camera and the light; and the renderer."""

from dataclasses import dataclass
from typing import get_args

import numpy as np

from tinv.toybox.canvas import SPACE, Canvas, Look, Style
from tinv.toybox.drawing import DRAW_FUNCTIONS, FLOOR_HEIGHTS
from tinv.toybox.palette import Color, random_named_color
from tinv.toybox.scenes import SCENES, backdrop, scene
from tinv.toybox.shapes import ellipse
from tinv.toybox.toys import Toy

STYLES = get_args(Style)


@dataclass(frozen=True)
class View:
    """Everything about an image except the toy."""

    style: Style
    scene: str | None
    """A key of `SCENES`, or None for a plain backdrop."""
    backdrop: Color
    """Color of the plain backdrop."""
    seed: int
    """Seed of the details of the scene."""
    scale: float
    """Height of the toy as a share of the image."""
    rotation: float
    mirrored: bool
    center: tuple[float, float]
    light: tuple[float, float, float]
    paper: Color
    ink: Color
    fill: float
    levels: int


def random_paper(rng: np.random.Generator) -> Color:
    """Returns white, cream, or any pale tint."""
    tint = float(rng.choice((0.02, 0.12, 0.28))) + float(rng.uniform(0, 0.08))
    return Color(None, float(rng.uniform()), tint, float(rng.uniform(0.86, 1.0)))


def random_ink(rng: np.random.Generator) -> Color:
    """Returns black, or dark ink of any hue."""
    if rng.random() < 0.4:
        return Color("black", 0.6, 0.1, float(rng.uniform(0.06, 0.16)))
    return Color(None, float(rng.uniform()), float(rng.uniform(0.55, 0.9)), float(rng.uniform(0.3, 0.5)))


def random_view(rng: np.random.Generator, *, style: Style | None = None, scene: str | None = "any") -> View:
    """Returns a random view.

    Args:
        rng: the source of randomness.
        style: one style instead of any.
        scene: one scene (or None, a plain backdrop) instead of any.
    """
    names = tuple(SCENES)
    chosen_style = STYLES[rng.choice(len(STYLES), p=(0.72, 0.17, 0.11))]
    chosen_scene = None if rng.random() < 0.36 else names[rng.integers(len(names))]
    return View(
        style=style or chosen_style,
        scene=chosen_scene if scene == "any" else scene,
        backdrop=random_named_color(rng),
        seed=int(rng.integers(2**31)),
        scale=float(rng.uniform(0.64, 0.86)),
        rotation=float(np.clip(rng.normal(0, 0.06), -0.15, 0.15)),
        mirrored=bool(rng.random() < 0.5),
        center=(float(rng.uniform(-0.09, 0.09)), float(rng.uniform(-0.1, 0.0))),
        light=(float(rng.choice((-1, 1)) * rng.uniform(0.25, 0.65)), float(rng.uniform(0.35, 0.7)), 0.7),
        paper=random_paper(rng),
        ink=random_ink(rng),
        fill=float(rng.uniform(0.5, 0.95)),
        levels=int(rng.integers(5, 9)),
    )


def make_look(view: View) -> Look:
    """Returns the rendering parameters of a view as arrays."""
    light = np.array(view.light, np.float32)
    return Look(view.style, light / np.linalg.norm(light), view.paper.rgb, view.ink.rgb, view.fill, view.levels)


def wash_on_paper(image: np.ndarray, view: View) -> np.ndarray:
    """Returns a background as a pale wash on paper, [N, N, 3]."""
    wash = np.float32(0.4 * view.fill if view.scene else 0.55)
    return view.paper.rgb * (1 - wash * (1 - image))


def add_shadow(image: np.ndarray, toy: Toy, view: View) -> np.ndarray:
    """Returns a background with the toy's soft shadow, [N, N, 3]."""
    x, y = view.center
    foot = y + FLOOR_HEIGHTS[toy.kind] * view.scale
    radii = (0.72 * view.scale, 0.15 * view.scale)
    distance = ellipse(SPACE, (x - 0.1 * view.light[0], foot), radii) / np.float32(radii[1]) + 1
    strength = 0.22 if view.style == "drawing" else 0.45
    return image * (1 - strength * np.exp(-0.9 * np.maximum(distance, 0) ** 4))[..., None]


def render(toy: Toy, view: View) -> np.ndarray:
    """Returns the image of a toy in a view, [64, 64, 3] uint8."""
    canvas = Canvas(make_look(view))
    image = backdrop(view.backdrop.rgb) if view.scene is None else scene(view.scene, view.seed)
    if view.style == "drawing":
        image = wash_on_paper(image, view)
    canvas.image = add_shadow(image, toy, view).astype(np.float32)
    canvas.frame(view.center, rotation=view.rotation, scale=view.scale, mirrored=view.mirrored)
    DRAW_FUNCTIONS[toy.kind](canvas, toy)
    return canvas.finish()
