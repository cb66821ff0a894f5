"""Claims: short captions with the attributes that they state, so that they can be compared with every image.

"a robot on the beach" is true of every robot on a beach, whatever its color. A caption of the training set describes
one image; a claim can be true of many.
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
"""An attribute that a claim does not state."""
UNNAMED_COLOR = -2
"""A color without a name; claims about colors cannot be decided for it."""
SCENE_NAMES, COLOR_NAMES = tuple(SCENES), tuple(NAMED_COLORS)


@dataclass(frozen=True)
class Claim:
    """A short caption and the attributes that it states."""

    caption: str
    attributes: tuple[int, ...]
    """Kind, color, location and style as in `encode_attributes`, or `UNSPECIFIED`."""


def encode_attributes(description: Description) -> tuple[int, ...]:
    """Returns kind, color, location and style of an image as indices; plain backdrops follow the scenes."""
    toy, view = description.toy, description.view
    color = UNNAMED_COLOR if toy.color.name is None else COLOR_NAMES.index(toy.color.name)
    location = len(SCENE_NAMES) + COLOR_NAMES.index(str(view.backdrop.name))
    if view.scene is not None:
        location = SCENE_NAMES.index(view.scene)
    return KINDS.index(toy.kind), color, location, STYLES.index(view.style)


def random_claim(rng: np.random.Generator, own: Sequence[int]) -> Claim:
    """Returns a random claim that is true of an image with these attributes."""
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
    """Compares claims with images.

    Args:
        attributes: of C claims, [C, 4].
        image_attributes: of B images, [B, 4].

    Returns:
        [C, B] bool, whether a claim is true; [C, B] bool, whether that is decidable.
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
    """Returns the attributes of images or claims, [N, 4] int64."""
    return torch.tensor([list(each) for each in several])
