"""The toy world: captioned pictures without end, each a pure function of its seed."""

from dataclasses import dataclass

import numpy as np

from tinv.toybox.captions import any_caption
from tinv.toybox.concepts import resembles
from tinv.toybox.toys import Toy, any_toy
from tinv.toybox.views import View, any_view, render


@dataclass(frozen=True)
class Description:
    """Everything there is to know about a picture."""

    toy: Toy
    view: View
    caption: str


def describe(seed: int) -> Description:
    """What picture number `seed` shows; never a concept, nor anything near one."""
    rng = np.random.default_rng(seed)
    while True:
        toy, view = any_toy(rng), any_view(rng)
        if resembles(toy, view) is None:
            return Description(toy, view, any_caption(rng, toy, view))


def picture(seed: int) -> tuple[np.ndarray, str]:
    """Picture number `seed`, [64, 64, 3] uint8, and its caption."""
    description = describe(seed)
    return render(description.toy, description.view), description.caption


def recaption(seed: int, draw: int) -> str:
    """Another true caption of picture number `seed`; which one is a pure function of `draw`."""
    description = describe(seed)
    return any_caption(np.random.default_rng([seed, draw]), description.toy, description.view)
