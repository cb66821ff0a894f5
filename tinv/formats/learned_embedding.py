"""A learned embedding: the value that every file format reads or writes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

_ENCODERS = {1024: "clip_h", 1280: "clip_g"}
"""The text encoders with a width of their own: Stable Diffusion 2's, and SDXL's second."""
_STEM = re.compile(r"(.+?)(-steps-\d+)?", re.DOTALL)


@dataclass(frozen=True)
class LearnedEmbedding:
    """A placeholder token and its learned vectors: the result of a run."""

    placeholder_token: str
    """The token that stands for the concept in prompts, e.g. `<cat-toy>`."""
    vectors: Mapping[str, Tensor]
    """[K, D] float32 for each text encoder, `{"clip_l": ...}`, or for each of its parts, `{"clip_l/stage.0": ...}`."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """base_model, fingerprint, kind, initializer_token, steps, seed, tinv_version. Other programs write none of it."""


def encoder_of_width(width: int) -> str:
    """Returns the text encoder that vectors of a width belong to: `clip_h`, `clip_g`, or else `clip_l`.

    768 is CLIP ViT-L (Stable Diffusion 1, SDXL's first). Models of other widths, such as the toybox, have one encoder.
    """
    return _ENCODERS.get(width, "clip_l")


def insert_suffix(path: Path, suffix: str) -> Path:
    """Returns the path with a suffix before the step: `learned_embeds-steps-500` -> `learned_embeds_2-steps-500`."""
    stem = _STEM.fullmatch(path.stem)
    assert stem
    return path.with_name(f"{stem[1]}{suffix}{stem[2] or ''}{path.suffix}")
