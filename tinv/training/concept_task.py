"""What to learn for one concept of a run, and whether several concepts fit into one run."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from unicodedata import normalize

from tinv.concept import Concept, whole_word_regex
from tinv.data.datamodule import ConceptDataModule
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ConceptTask:
    """One concept: its token, its training data and its vectors. Each node of `extra_concepts` has these fields."""

    concept: Concept
    """The placeholder token and the initializer token."""
    data: ConceptDataModule
    """The training images and captions."""
    embedding: EmbeddingConfig
    """How many vectors are learned, and how they are initialized and constrained."""
    lr: float | None = None
    """The learning rate of these vectors; None is optimizer.lr."""

    def __post_init__(self) -> None:
        if self.lr is not None and self.lr <= 0:
            raise UserError(f"lr={self.lr}: must be above 0. Set lr=null to use optimizer.lr.")


def find_conflicts(concepts: Mapping[str, Concept]) -> Iterator[str]:
    """Yields a message for each pair of concepts that one run cannot learn together.

    Args:
        concepts: each by the setting that holds it, such as `concept` or `extra_concepts.robot.concept`.
    """
    for (setting, concept), (other_setting, other) in combinations(concepts.items(), 2):
        token, other_token = concept.placeholder_token, other.placeholder_token
        pair = f"{setting}.placeholder_token={token}, {other_setting}.placeholder_token={other_token}"
        if token == other_token:
            yield f"{pair}: both concepts have the same token. Rename one."
        elif token in other_token or other_token in token:
            yield (
                f"{pair}: one token contains the other, and programs that match text, such as diffusers, would "
                f"confuse them. Rename one."
            )
        elif normalize("NFKC", concept.slug.casefold()) == normalize("NFKC", other.slug.casefold()):
            yield f"{pair}: both concepts would be saved in concepts/{concept.slug}. Rename one."


def captions_with_tokens(task: ConceptTask, tokens: Iterable[str]) -> dict[str, list[str]]:
    """Returns the captions of a concept that contain other placeholder tokens, by token.

    The vectors of such a token learn from the images of this concept too.
    """
    captions = {
        token: [text for text in task.data.captions if re.search(whole_word_regex(token), text, re.IGNORECASE)]
        for token in tokens
        if token != task.concept.placeholder_token
    }
    return {token: texts for token, texts in captions.items() if texts}
