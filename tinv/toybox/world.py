"""The toy world: an unlimited number of captioned images, each a function of its seed."""

from dataclasses import dataclass

import numpy as np

from tinv.toybox.captions import random_caption
from tinv.toybox.concepts import find_similar_concept
from tinv.toybox.toys import Toy, random_toy
from tinv.toybox.views import View, random_view, render


@dataclass(frozen=True)
class Description:
    """The toy, the view and the caption of an image."""

    toy: Toy
    view: View
    caption: str


def describe(seed: int) -> Description:
    """Returns the description of image `seed`; it never resembles a concept."""
    rng = np.random.default_rng(seed)
    while True:
        toy, view = random_toy(rng), random_view(rng)
        if find_similar_concept(toy, view) is None:
            return Description(toy, view, random_caption(rng, toy, view))


def render_image(seed: int) -> tuple[np.ndarray, str]:
    """Returns image `seed`, [64, 64, 3] uint8, and its caption."""
    description = describe(seed)
    return render(description.toy, description.view), description.caption


def recaption(seed: int, draw: int) -> str:
    """Returns another true caption of image `seed`, a function of `draw`."""
    description = describe(seed)
    return random_caption(np.random.default_rng([seed, draw]), description.toy, description.view)
