"""A learned word, as every file format sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

ENCODER = "clip_l"
"""The text encoder that the vectors of a one-encoder file belong to."""


@dataclass(frozen=True)
class LearnedEmbedding:
    """A word and its vectors: all that a run leaves for others to use."""

    placeholder: str
    """The word that stands for the concept in prompts, e.g. `<cat-toy>`."""
    vectors: Mapping[str, Tensor]
    """[K, D] float32 of each text encoder: `{"clip_l": ...}`."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from: base_model, fingerprint, kind, initializer, steps, seed, tinv_version. Files written by
    other programs carry none of it."""
