"""Brief captions, and of which pictures they are true.

"a robot on the beach" is true of every robot on a beach, whatever its colour. What a caption of the training set says
of one picture is seldom asked of another; a claim can be held against all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinv.toybox.captions import NOUNS, PLACES, PREFIXES, STYLE_WORDS, article, choose
from tinv.toybox.palette import NAMED
from tinv.toybox.scenes import SCENES
from tinv.toybox.toys import KINDS
from tinv.toybox.views import STYLES
from tinv.toybox.world import Description

UNSAID = -1
"""What a claim leaves open."""
NAMELESS = -2
"""A colour without a name: no claim about it is held against anything."""
SCENE_NAMES, COLOUR_NAMES = tuple(SCENES), tuple(NAMED)


@dataclass(frozen=True)
class Claim:
    """A brief caption and what it says."""

    caption: str
    said: tuple[int, ...]
    """Kind, colour, place and style as `facts` counts them, or `UNSAID`."""


def facts(description: Description) -> tuple[int, ...]:
    """Kind, main colour, place and style of a picture as numbers; plain backdrops are counted after the scenes."""
    toy, view = description.toy, description.view
    colour = NAMELESS if toy.colour.name is None else COLOUR_NAMES.index(toy.colour.name)
    place = len(SCENE_NAMES) + COLOUR_NAMES.index(str(view.backdrop.name))
    if view.scene is not None:
        place = SCENE_NAMES.index(view.scene)
    return KINDS.index(toy.kind), colour, place, STYLES.index(view.style)


def claim_about(rng: np.random.Generator, own: Sequence[int]) -> Claim:
    """A claim that is true of a picture with these facts; it says the kind nearly always, the rest half the time."""
    kind, colour, place, style = own
    says_kind, says_colour, says_place, says_style = rng.random(4) < (0.93, 0.4, 0.65, 0.5)
    says_colour = says_colour and colour != NAMELESS
    noun = choose(rng, NOUNS[KINDS[kind]]) if says_kind else "toy"
    phrase = article(f"{COLOUR_NAMES[colour]} {noun}" if says_colour else noun)
    where = _where(rng, place) if says_place else ""
    caption = f"{phrase} {where}".strip()
    if says_style and rng.random() < 0.25:
        caption = f"{caption} in the style of {article(choose(rng, STYLE_WORDS[STYLES[style]]))}"
    elif says_style:
        caption = f"{choose(rng, PREFIXES[STYLES[style]])} {caption}"
    said = np.where([says_kind, says_colour, says_place, says_style], own, UNSAID)
    return Claim(caption, tuple(int(value) for value in said))


def truth(said: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Which claims are true of which pictures.

    Args:
        said: what C claims say, [C, 4].
        known: the facts of B pictures, [B, 4].

    Returns:
        [C, B] bool, whether it is true; [C, B] bool, whether that can be told.
    """
    open_, same = (said == UNSAID)[:, None], said[:, None] == known[None]
    true = (open_ | same).all(2)
    nameless = (~open_ & (known == NAMELESS)[None]).any(2)
    return true, ~nameless


def _where(rng: np.random.Generator, place: int) -> str:
    if place < len(SCENE_NAMES):
        return choose(rng, PLACES[SCENE_NAMES[place]])
    return f"on {article(COLOUR_NAMES[place - len(SCENE_NAMES)])} background"


def as_tensor(several: Sequence[Sequence[int]]) -> Tensor:
    """Facts or claims of many pictures, [N, 4] int64."""
    return torch.tensor([list(each) for each in several])
