"""Brief captions, and of which pictures they are true.

"a robot on the beach" is true of every robot on a beach, whatever its colour. What a caption of the training set says
of one picture is seldom asked of another; a claim can be held against all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tinv.toybox.captions import CAPTION_PREFIXES, NOUNS, SCENE_PHRASES, STYLE_WORDS, add_article, choose
from tinv.toybox.palette import NAMED_COLORS
from tinv.toybox.scenes import SCENES
from tinv.toybox.toys import KINDS
from tinv.toybox.views import STYLES
from tinv.toybox.world import Description

UNSPECIFIED = -1
"""What a claim leaves open."""
UNNAMED_COLOR = -2
"""A colour without a name: no claim about it is held against anything."""
SCENE_NAMES, COLOR_NAMES = tuple(SCENES), tuple(NAMED_COLORS)


@dataclass(frozen=True)
class Claim:
    """A brief caption and what it says."""

    caption: str
    attributes: tuple[int, ...]
    """Kind, colour, place and style as `facts` counts them, or `UNSAID`."""


def encode_attributes(description: Description) -> tuple[int, ...]:
    """Kind, main colour, place and style of a picture as numbers; plain backdrops are counted after the scenes."""
    toy, view = description.toy, description.view
    color = UNNAMED_COLOR if toy.color.name is None else COLOR_NAMES.index(toy.color.name)
    location = len(SCENE_NAMES) + COLOR_NAMES.index(str(view.backdrop.name))
    if view.scene is not None:
        location = SCENE_NAMES.index(view.scene)
    return KINDS.index(toy.kind), color, location, STYLES.index(view.style)


def random_claim(rng: np.random.Generator, own: Sequence[int]) -> Claim:
    """A claim that is true of a picture with these facts; it says the kind nearly always, the rest half the time."""
    kind, color, location, style = own
    with_kind, with_color, with_location, with_style = rng.random(4) < (0.93, 0.4, 0.65, 0.5)
    with_color = with_color and color != UNNAMED_COLOR
    noun = choose(rng, NOUNS[KINDS[kind]]) if with_kind else "toy"
    phrase = add_article(f"{COLOR_NAMES[color]} {noun}" if with_color else noun)
    where = _where(rng, location) if with_location else ""
    caption = f"{phrase} {where}".strip()
    if with_style and rng.random() < 0.25:
        caption = f"{caption} in the style of {add_article(choose(rng, STYLE_WORDS[STYLES[style]]))}"
    elif with_style:
        caption = f"{choose(rng, CAPTION_PREFIXES[STYLES[style]])} {caption}"
    attributes = np.where([with_kind, with_color, with_location, with_style], own, UNSPECIFIED)
    return Claim(caption, tuple(int(value) for value in attributes))


def match_claims(attributes: Tensor, image_attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Which claims are true of which pictures.

    Args:
        said: what C claims say, [C, 4].
        known: the facts of B pictures, [B, 4].

    Returns:
        [C, B] bool, whether it is true; [C, B] bool, whether that can be told.
    """
    open_, same = (attributes == UNSPECIFIED)[:, None], attributes[:, None] == image_attributes[None]
    true = (open_ | same).all(2)
    nameless = (~open_ & (image_attributes == UNNAMED_COLOR)[None]).any(2)
    return true, ~nameless


def _where(rng: np.random.Generator, location: int) -> str:
    if location < len(SCENE_NAMES):
        return choose(rng, SCENE_PHRASES[SCENE_NAMES[location]])
    return f"on {add_article(COLOR_NAMES[location - len(SCENE_NAMES)])} background"


def as_tensor(several: Sequence[Sequence[int]]) -> Tensor:
    """Facts or claims of many pictures, [N, 4] int64."""
    return torch.tensor([list(each) for each in several])
