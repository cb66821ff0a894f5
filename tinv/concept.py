"""The concept to learn: its placeholder token and its initializer token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinv.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A concept to learn. Immutable and hashable; built from conf/concept."""

    placeholder_token: str
    """The new token, as it appears in prompts: one word in lower case, e.g. `<cat-toy>`."""
    initializer_token: str | None = None
    """An existing word or short phrase whose vectors initialize the embedding, e.g. `toy`. Not needed when
    `embedding.init` is `random` or `file`."""
    kind: Literal["object", "style"] = "object"
    """Selects the caption templates: `a photo of a {}` or `a painting in the style of {}`."""

    def __post_init__(self) -> None:
        """Raises UserError for a token that prompts cannot contain."""
        token, valid = self.placeholder_token, "".join(self.placeholder_token.split()).lower()
        if token != valid or not valid:
            raise UserError(
                f"concept.placeholder_token={token!r}: must be one word in lower case, because CLIP's tokenizer "
                f"lower-cases every prompt. Write {valid or '<my-concept>'!r} instead."
            )
        if "{" in token or "}" in token:
            raise UserError(
                f"concept.placeholder_token={token!r}: must not contain braces, which mark its position in templates. "
                f"Write {token.replace('{', '<').replace('}', '>')!r} instead."
            )
        if self.kind not in ("object", "style"):
            raise UserError(f"concept.kind={self.kind!r}: must be object or style.")

    def words(self, num_vectors: int) -> tuple[str, ...]:
        """Returns the token of each vector, spelled as diffusers expands it: `<cat>`, `<cat>_1`, `<cat>_2`, ..."""
        return (self.placeholder_token, *(f"{self.placeholder_token}_{i}" for i in range(1, num_vectors)))

    @property
    def slug(self) -> str:
        """The placeholder token as a file name: `<cat-toy>` -> `cat-toy`."""
        return slug(self.placeholder_token)


def slug(token: str) -> str:
    """Returns a token as a file name for every operating system: letters, digits, `-` and `_` only."""
    return "".join(c if c.isalnum() or c in "-_" else "" for c in token).strip("-_") or "concept"


def names(concepts: Sequence[Concept]) -> list[str]:
    """Returns the name of each concept's files and metrics in a run: its slug, or "" for the only concept."""
    return [concept.slug for concept in concepts] if len(concepts) > 1 else [""]


def whole_word_regex(word: str) -> str:
    """Returns a regular expression that matches a word, but not inside a longer word: `sks` does not match `asks`."""
    before = r"(?<!\w)" if re.match(r"\w", word[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"
