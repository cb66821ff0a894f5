"""Learned tokens with parts: other vectors for each stage of the noise schedule, each U-Net layer, or for a negative.

The vectors of an ordinary token are named by text encoder, `clip_l`; those of a token with parts by text encoder and
part: `clip_l/stage.0`, `clip_l/stage.1` and so on. To a text encoder each part is a token of its own: `expand_parts`
replaces the token in a caption by the part that belongs to the caption's conditioning slot. So only the code that
chooses the slots, tinv/models/conditioning.py, has to know about parts.

B batch, K vectors, D width, T training timesteps.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any, Self

import torch
from torch import Tensor

from tinv.concept import whole_word_regex
from tinv.types import Vectors

NEGATIVE = "negative"
"""The part of a token that guidance leads away from."""
MEAN = "mean"
"""Given to `select_part` instead of a part: the mean over all parts."""
_STAGE = re.compile(r"stage\.(\d+)")
MAX_STAGES = 30
_DELIMITERS = "\ue000", "\ue001"
"""Characters that nobody types. They are not letters, so they do not change where words end."""


@dataclass(frozen=True)
class ConditioningSlot:
    """Where the denoiser uses a caption."""

    stage: int
    num_stages: int
    """A multiple of the number of stages of each token."""
    layer: str = ""
    """Of the U-Net; empty if all layers use the same."""
    is_negative: bool = False
    """Whether guidance leads away from it."""


@dataclass(frozen=True)
class SlotLayout:
    """The conditioning slots of captions: one for each stage and layer."""

    stages: int = 1
    layers: tuple[str, ...] = ()
    """Of the U-Net; empty if all layers use the same."""

    @classmethod
    def of(cls, tokens: Iterable[Mapping[str, Any]]) -> Self:
        """The fewest slots that distinguish all parts of some tokens.

        Args:
            tokens: the vectors of each, by text encoder and part.
        """
        parts_of_tokens = [parts(vectors) for vectors in tokens]
        layers = next((names for names in parts_of_tokens if is_of_layers(names)), ())
        return cls(lcm(*map(num_stages, parts_of_tokens)), layers)

    def slots(self, *, is_negative: bool = False) -> list[ConditioningSlot]:
        """All slots: the layers of the first stage, those of the next, and so on."""
        return [slot for stage in range(self.stages) for slot in self.at_stage(stage, is_negative=is_negative)]

    def at_stage(self, stage: int, *, is_negative: bool = False) -> list[ConditioningSlot]:
        """The slots of one stage."""
        return [ConditioningSlot(stage, self.stages, layer, is_negative) for layer in self.layers or ("",)]


def stage_names(count: int) -> tuple[str, ...]:
    """The names of the parts of a token with some stages; none for a single stage."""
    return tuple(f"stage.{number}" for number in range(count)) if count > 1 else ()


def stage_of(t_B: Tensor, stages: int, num_timesteps: float) -> Tensor:
    """The stage [B] of timesteps: t // (T / stages); stage 0 has the least noise."""
    return (t_B.double() * stages / num_timesteps).long().clamp(0, stages - 1)


def join_key(encoder: str, part: str) -> str:
    """The name of the vectors of a text encoder and a part; an empty part is that of an ordinary token."""
    return f"{encoder}/{part}" if part else encoder


def encoder_of(name: str) -> str:
    """The text encoder in the name of vectors."""
    return name.partition("/")[0]


def part_of(name: str) -> str:
    """The part in the name of vectors; empty for an ordinary token."""
    return name.partition("/")[2]


def parts(names: Iterable[str]) -> tuple[str, ...]:
    """The parts of a token in their order, without its negative, from the names of its vectors; none if ordinary."""
    return tuple(dict.fromkeys(part for name in names if (part := part_of(name)) not in ("", NEGATIVE)))


def has_parts(vectors: Vectors) -> bool:
    """Whether any token has parts or a negative, and captions need more than one call of the text encoder."""
    return any(part_of(name) for by_name in vectors.values() for name in by_name)


def has_negative(names: Iterable[str]) -> bool:
    """Whether a token has a negative, from the names of its vectors."""
    return any(part_of(name) == NEGATIVE for name in names)


def num_stages(names: Sequence[str]) -> int:
    """The number of stages among the parts of a token."""
    return len(names) if names and _STAGE.fullmatch(names[0]) else 1


def is_of_layers(names: Sequence[str]) -> bool:
    """Whether the parts of a token are layers."""
    return bool(names) and not _STAGE.fullmatch(names[0])


def part_at(names: Iterable[str], slot: ConditioningSlot) -> str:
    """The part of a token in a slot, from the names of its vectors; empty for an ordinary token."""
    if slot.is_negative and has_negative(names):
        return NEGATIVE
    part_names = parts(names)
    if is_of_layers(part_names):
        return slot.layer
    return part_names[slot.stage * len(part_names) // slot.num_stages] if part_names else ""


def mentioned(vectors: Vectors, captions: Iterable[str]) -> Vectors:
    """The tokens without those that have parts and occur in no caption."""
    texts = [*captions]
    return {token: names for token, names in vectors.items() if not any(map(part_of, names)) or mentions(token, texts)}


def mentions(token: str, captions: Iterable[str]) -> bool:
    """Whether a token occurs in any of some captions."""
    return re.search(whole_word_regex(token), "\n".join(captions), flags=re.IGNORECASE) is not None


def expand_parts(
    vectors: Vectors, captions: Sequence[str], slots: Sequence[ConditioningSlot]
) -> tuple[list[str], Vectors]:
    """The captions with ordinary tokens in place of tokens with parts, and the vectors of those ordinary tokens.

    Args:
        vectors: of the learned tokens.
        captions: B texts.
        slots: B slots, which decide the part in each caption.
    """
    expanded: dict[str, dict[str, Tensor]] = {}
    for token, by_name in vectors.items():
        for name, vectors_KD in by_name.items():
            expanded.setdefault(_part_token(token, part_of(name)), {})[encoder_of(name)] = vectors_KD
    longest_first = sorted(vectors, key=len, reverse=True)
    pattern = re.compile("|".join(map(whole_word_regex, longest_first)), flags=re.IGNORECASE)

    def expand(caption: str, slot: ConditioningSlot) -> str:
        return pattern.sub(lambda m: _part_token(m[0].lower(), part_at(vectors[m[0].lower()], slot)), caption)

    return [expand(caption, slot) for caption, slot in zip(captions, slots, strict=True)], expanded


def select_part(vectors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The vectors [K, D] of one part as those of an ordinary token; `mean` is the mean over all parts."""
    if part != MEAN:
        return {encoder_of(name): vectors_KD for name, vectors_KD in vectors.items() if part_of(name) == part}
    names = parts(vectors)
    return {
        encoder: torch.stack([vectors[join_key(encoder, name)] for name in names]).mean(dim=0)
        for encoder in dict.fromkeys(map(encoder_of, vectors))
    }


def describe_parts(names: Sequence[str]) -> str:
    """What the parts of a token are, for messages: `each of 10 stages of the noise schedule`."""
    if not names:
        return "all timesteps and layers"
    kind = "layers of the U-Net" if is_of_layers(names) else "stages of the noise schedule"
    return f"each of {len(names)} {kind}"


def _part_token(token: str, part: str) -> str:
    return f"{_DELIMITERS[0]}{token}/{part}{_DELIMITERS[1]}" if part else token
