"""Words whose rows depend on where they are used: on the stage of the noise schedule, or the layer of the U-Net.

Such a word has rows for each of its parts, called by text encoder and part, `clip_l/stage.0`, `clip_l/stage.1` and so
on, where an ordinary word has `clip_l`. To a text encoder each part is a word of its own, and a caption says the part
that belongs to its place. So nothing else has to know of parts but what chooses the places.

B batch, K rows, D width, T training timesteps.
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
"""The part of a word that stands for what it is not."""
MEAN = "mean"
"""What is asked for in the place of a part: the mean over all."""
_STAGE = re.compile(r"stage\.(\d+)")
MAX_STAGES = 30
_MARKS = "\ue000", "\ue001"
"""Characters that nobody types; no letters, so that what stands around a word matters no more than before."""


@dataclass(frozen=True)
class ConditioningSlot:
    """Where a caption is used."""

    stage: int
    of: int
    """How many stages there are, a multiple of those of each word."""
    layer: str = ""
    """Of the U-Net; empty where all are told the same."""
    is_negative: bool = False
    """Whether it is where pictures are steered away from."""


@dataclass(frozen=True)
class SlotLayout:
    """Over which places the features of captions are spread."""

    stages: int = 1
    layers: tuple[str, ...] = ()
    """Of the U-Net; none where all are told the same."""

    @classmethod
    def over(cls, words: Iterable[Mapping[str, Any]]) -> Self:
        """As many as the words tell apart.

        Args:
            words: the rows of each, by text encoder and part.
        """
        known = [parts(rows) for rows in words]
        return cls(lcm(*map(num_stages, known)), next((names for names in known if is_of_layers(names)), ()))

    def places(self, *, is_negative: bool = False) -> list[ConditioningSlot]:
        """All of them: the layers of the first stage, those of the next."""
        return [place for stage in range(self.stages) for place in self.at_stage(stage, is_negative=is_negative)]

    def at_stage(self, stage: int, *, is_negative: bool = False) -> list[ConditioningSlot]:
        """The places of one stage."""
        return [ConditioningSlot(stage, self.stages, layer, is_negative) for layer in self.layers or ("",)]


def stage_names(count: int) -> tuple[str, ...]:
    """What the parts of a word are called that tells stages apart; nothing where there is one stage only."""
    return tuple(f"stage.{number}" for number in range(count)) if count > 1 else ()


def stage_of(t_B: Tensor, stages: int, num_timesteps: int) -> Tensor:
    """The stage [B] of timesteps: t // (T / stages), 0 the one with the least noise."""
    return (t_B.double() * stages / num_timesteps).long().clamp(0, stages - 1)


def join_key(encoder: str, part: str) -> str:
    """What the rows of a part are called; an empty one is no part."""
    return f"{encoder}/{part}" if part else encoder


def encoder_of(name: str) -> str:
    """The text encoder that rows are for."""
    return name.partition("/")[0]


def part_of(name: str) -> str:
    """The part that rows are of; empty for those of an ordinary word."""
    return name.partition("/")[2]


def parts(rows: Iterable[str]) -> tuple[str, ...]:
    """The parts of a word by the names of its rows, in their order, without its negative; none for an ordinary word."""
    return tuple(dict.fromkeys(part for name in rows if (part := part_of(name)) not in ("", NEGATIVE)))


def has_negative(rows: Iterable[str]) -> bool:
    """Whether a word has rows for what it is not."""
    return any(part_of(name) == NEGATIVE for name in rows)


def num_stages(names: Sequence[str]) -> int:
    """How many stages the parts of a word tell apart."""
    return len(names) if names and _STAGE.fullmatch(names[0]) else 1


def is_of_layers(names: Sequence[str]) -> bool:
    """Whether the parts of a word are those of layers."""
    return bool(names) and not _STAGE.fullmatch(names[0])


def part_at(rows: Iterable[str], place: ConditioningSlot) -> str:
    """The part of a word that is meant in a place, by the names of its rows; none of an ordinary word."""
    if place.is_negative and has_negative(rows):
        return NEGATIVE
    names = parts(rows)
    if is_of_layers(names):
        return place.layer
    return names[place.stage * len(names) // place.of] if names else ""


def mentioned(words: Vectors, captions: Iterable[str]) -> Vectors:
    """The words without those that have parts and that no caption says."""
    text = [*captions]
    return {word: rows for word, rows in words.items() if not any(map(part_of, rows)) or mentions(word, text)}


def mentions(word: str, captions: Iterable[str]) -> bool:
    """Whether any of some captions says a word."""
    return re.search(whole_word_regex(word), "\n".join(captions), flags=re.IGNORECASE) is not None


def expand_parts(
    words: Vectors, captions: Sequence[str], places: Sequence[ConditioningSlot]
) -> tuple[list[str], Vectors]:
    """Captions and ordinary words, one for each part, that say the same each in its place.

    Args:
        words: learned words.
        captions: B texts.
        places: B places.
    """
    plain: dict[str, dict[str, Tensor]] = {}
    for word, rows in words.items():
        for name, rows_KD in rows.items():
            plain.setdefault(_spelled(word, part_of(name)), {})[encoder_of(name)] = rows_KD
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile("|".join(map(whole_word_regex, longest_first)), flags=re.IGNORECASE)

    def texted(caption: str, place: ConditioningSlot) -> str:
        return pattern.sub(lambda hit: _spelled(hit[0].lower(), part_at(words[hit[0].lower()], place)), caption)

    return [texted(caption, place) for caption, place in zip(captions, places, strict=True)], plain


def select_part(rows: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The rows [K, D] of a part by text encoder, as those of an ordinary word; `mean` is the mean over all parts."""
    if part != MEAN:
        return {encoder_of(name): rows_KD for name, rows_KD in rows.items() if part_of(name) == part}
    names = parts(rows)
    encoders = dict.fromkeys(map(encoder_of, rows))
    return {encoder: torch.stack([rows[join_key(encoder, name)] for name in names]).mean(dim=0) for encoder in encoders}


def describe_parts(names: Sequence[str]) -> str:
    """Of what a word has parts, for messages: `each of 10 stages of the noise schedule`."""
    if not names:
        return "every place alike"
    kind = "layers of the U-Net" if is_of_layers(names) else "stages of the noise schedule"
    return f"each of {len(names)} {kind}"


def _spelled(word: str, part: str) -> str:
    return f"{_MARKS[0]}{word}/{part}{_MARKS[1]}" if part else word
