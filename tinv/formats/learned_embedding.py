"""A learned embedding: the value that every file format reads or writes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from tinv.token_parts import encoder_of

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
    has_guessed_encoders: bool = False
    """Whether the file does not name the text encoders, so that they were guessed by width."""


def widths(embedding: LearnedEmbedding) -> dict[str, int]:
    """Returns the width of the vectors for each text encoder."""
    return {encoder_of(name): vectors_KD.shape[1] for name, vectors_KD in embedding.vectors.items()}


def insert_suffix(path: Path, suffix: str) -> Path:
    """Returns the path with a suffix before the step: `learned_embeds-steps-500` -> `learned_embeds_2-steps-500`."""
    stem = _STEM.fullmatch(path.stem)
    assert stem
    return path.with_name(f"{stem[1]}{suffix}{stem[2] or ''}{path.suffix}")
