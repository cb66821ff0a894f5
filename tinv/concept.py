"""The concept to learn: its placeholder token and its initializer token."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tinv.errors import UserError

_MAX_BYTES = 100
_INVISIBLE = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
"""Characters that `str.isprintable` admits, but that are not drawn: fillers, joiners and variation selectors."""
_DEVICE = r"con|prn|aux|nul|(com|lpt)[0-9¹²³]"
"""Names that Windows reserves for devices, with any suffix."""
_BRACES = str.maketrans("{}", "<>")


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
        """Raises UserError for a token that prompts or files cannot contain."""
        if problem := _find_prompt_problem(self.placeholder_token) or find_token_problem(self.placeholder_token):
            suggestion = _suggest_token(self.placeholder_token)
            raise UserError(
                f"concept.placeholder_token={self.placeholder_token!r}: {problem}. Write {suggestion!r} instead."
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


def find_token_problem(token: str) -> str | None:
    """Returns why files and prompts of no program can contain a token; None if they can."""
    if not token.strip():
        return "is empty"
    if character := next((c for c in token if not c.isprintable() or re.match(_INVISIBLE, c)), None):
        return f"contains the invisible character U+{ord(character):04X}"
    if "/" in token or "\\" in token:
        return "must not contain slashes, which separate the parts of a token and the folders of a path"
    if len(token.encode()) > _MAX_BYTES:
        return f"has {len(token.encode())} bytes, more than the {_MAX_BYTES} that leave room in a file name"
    return None


def _find_prompt_problem(token: str) -> str | None:
    """Returns why the captions of a run cannot contain a token; None if they can."""
    if token != "".join(token.split()).lower():
        return "must be one word in lower case, because CLIP's tokenizer lower-cases every prompt"
    if "{" in token or "}" in token:
        return "must not contain braces, which mark its position in templates"
    if token != unicodedata.normalize("NFKC", token):
        return "contains characters that Unicode's normal form (NFKC) replaces, as some programs do with prompts"
    return None


def _suggest_token(token: str) -> str:
    """Returns a valid token that resembles an invalid one."""
    for _ in range(3):  # lower case, normal form and what is removed can each change the others
        token = unicodedata.normalize("NFKC", "".join(token.split()).lower()).translate(_BRACES)
        token = "".join(c for c in token if not find_token_problem(c))
        token = token.encode()[:_MAX_BYTES].decode(errors="ignore")
    return "<my-concept>" if _find_prompt_problem(token) or find_token_problem(token) else token


def slug(token: str) -> str:
    """Returns a token as a file name for every operating system: letters, digits, `-` and `_` only."""
    name = "".join(c if c.isalnum() or c in "-_" else "" for c in token).strip("-_") or "concept"
    return f"concept-{name}" if re.fullmatch(_DEVICE, name, re.IGNORECASE) else name


def names(concepts: Sequence[Concept]) -> list[str]:
    """Returns the name of each concept's files and metrics in a run: its slug, or "" for the only concept."""
    return [concept.slug for concept in concepts] if len(concepts) > 1 else [""]


def strip_word_marker(token: str) -> str:
    """Returns a token of a vocabulary as it is read: `cat</w>` of CLIP, `▁cat` of T5, `Ġcat` of Qwen -> `cat`."""
    return token.removesuffix("</w>").lstrip("▁Ġ")


def whole_word_regex(word: str) -> str:
    """Returns a regular expression that matches a word, but not inside a longer word: `sks` does not match `asks`."""
    before = r"(?<!\w)" if re.match(r"\w", word[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"
