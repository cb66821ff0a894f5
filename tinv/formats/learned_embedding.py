"""A learned word, as every file format sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

_ENCODERS = {1024: "clip_h", 1280: "clip_g"}
"""The text encoders whose vectors have a width of their own: Stable Diffusion 2's, and SDXL's second."""


@dataclass(frozen=True)
class LearnedEmbedding:
    """A word and its vectors: all that a run leaves for others to use."""

    placeholder_token: str
    """The word that stands for the concept in prompts, e.g. `<cat-toy>`."""
    vectors: Mapping[str, Tensor]
    """[K, D] float32 of each text encoder: `{"clip_l": ...}`, or `{"clip_l/stage.0": ...}` of each of its parts."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from: base_model, fingerprint, kind, initializer, steps, seed, tinv_version. Files written by
    other programs carry none of it."""


def encoder_of_width(width: int) -> str:
    """The text encoder that vectors of this width belong to: `clip_h`, `clip_g`, or else `clip_l`.

    768 is CLIP ViT-L (Stable Diffusion 1, SDXL's first). Models of other widths, as the toybox, have one encoder.
    """
    return _ENCODERS.get(width, "clip_l")
