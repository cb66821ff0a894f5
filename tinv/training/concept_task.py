"""What one concept of a run consists of, and whether several go together."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from tinv.concept import Concept, whole_word_regex
from tinv.data.datamodule import ConceptDataModule
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ConceptTask:
    """One concept: what is learned, from what, and how. The nodes of `others` are such."""

    concept: Concept
    """The word, and the word that it starts from."""
    data: ConceptDataModule
    """Its own pictures and captions."""
    embedding: EmbeddingConfig
    """How many rows, where they start, and what holds them."""
    lr: float | None = None
    """A rate of its own; None is the optimizer's."""

    def __post_init__(self) -> None:
        if self.lr is not None and self.lr <= 0:
            raise UserError(f"lr must be above 0, got {self.lr}; null is optimizer.lr")


def clashes(concepts: Mapping[str, Concept]) -> Iterator[str]:
    """Why concepts cannot be learned in one run, or nothing.

    Args:
        concepts: each by the place where it is set, such as `concept` or `extra_concepts.robot.concept`.
    """
    for (here, one), (there, other) in combinations(concepts.items(), 2):
        pair = (
            f"{here}.placeholder_token {one.placeholder_token} and {there}.placeholder_token {other.placeholder_token}"
        )
        if one.placeholder_token == other.placeholder_token:
            yield f"{here}.placeholder_token and {there}.placeholder_token are both {one.placeholder_token}; call one of them otherwise"
        elif one.placeholder_token in other.placeholder_token or other.placeholder_token in one.placeholder_token:
            yield (
                f"{pair}: the one is a part of the other, which programs that replace words by their letters "
                f"(diffusers is one) would take apart; call one of them otherwise"
            )
        elif one.slug.lower() == other.slug.lower():
            yield f"{pair}: both would have the folder concepts/{one.slug}; call one of them otherwise"


def borrowed(lesson: ConceptTask, words: Iterable[str]) -> dict[str, list[str]]:
    """The captions of a concept that also say the words of others, whose rows then learn from its pictures, too."""
    sayings = {
        word: [text for text in lesson.data.captions if re.search(whole_word_regex(word), text, re.IGNORECASE)]
        for word in words
        if word != lesson.concept.placeholder_token
    }
    return {word: texts for word, texts in sayings.items() if texts}
