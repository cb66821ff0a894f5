"""What is being learned: one concept, its placeholder word and the word it starts from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A concept to invert. Immutable, hashable, built by Hydra from conf/concept."""

    placeholder_token: str
    """The new word, as it appears in prompts: one word in lower case, e.g. `<cat-toy>`."""
    initializer_token: str | None = None
    """An existing word or short phrase whose vectors the concept starts from, e.g. `toy`. Not needed when
    `embedding.init` is `random` or `file`."""
    kind: Literal["object", "style"] = "object"
    """Chooses the caption templates: `a photo of a {}` or `a painting in the style of {}`."""

    def __post_init__(self) -> None:
        joined = "".join(self.placeholder_token.split()).lower()
        if self.placeholder_token != joined or not joined:
            raise UserError(
                f"concept.placeholder_token must be a single word in lower case (CLIP's tokenizer lower-cases every prompt), "
                f"got {self.placeholder_token!r}; write {joined or '<my-concept>'!r} instead"
            )
        if "{" in joined or "}" in joined:
            raise UserError(
                f"concept.placeholder_token must not contain braces (they mark the word's place in templates), "
                f"got {self.placeholder_token!r}; write {joined.replace('{', '<').replace('}', '>')!r} instead"
            )
        if self.kind not in ("object", "style"):
            raise UserError(f"concept.kind must be object or style, got {self.kind!r}")

    def words(self, num_vectors: int) -> tuple[str, ...]:
        """The vocabulary words that carry the concept, one per learned vector.

        The spelling is the one diffusers expands at inference: `<cat>`, `<cat>_1`, `<cat>_2`, ...
        """
        return (self.placeholder_token, *(f"{self.placeholder_token}_{i}" for i in range(1, num_vectors)))

    @property
    def slug(self) -> str:
        """The placeholder as a file name that every operating system accepts: `<cat-toy>` -> `cat-toy`."""
        return slug(self.placeholder_token)


def slug(word: str) -> str:
    """A word as a file name: letters, digits, `-` and `_` only."""
    return "".join(c if c.isalnum() or c in "-_" else "" for c in word).strip("-_") or "concept"


def names(concepts: Sequence[Concept]) -> list[str]:
    """What the files and numbers of each are called by in a run: its slug, or nothing where it is the only one."""
    return [concept.slug for concept in concepts] if len(concepts) > 1 else [""]


def whole_word_regex(word: str) -> str:
    """A regular expression for a word where it is no part of a longer one: `sks` does not fire inside `asks`."""
    before = r"(?<!\w)" if re.match(r"\w", word[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"
