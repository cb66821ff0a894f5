"""The content of an opened file, before a layout interprets it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_TENSORS = 64
"""A file with more tensors is a model."""
MAX_VALUES = 2**24
"""A tensor with more numbers is not an embedding: 75 vectors of the widest encoder are a fiftieth of it."""


@dataclass(frozen=True)
class Content:
    """An opened file: named values, tensors among them, and the metadata of its container."""

    path: Path
    container: str
    """`safetensors`, `torch` or `image`."""
    root: Any
    """A mapping of names to tensors, texts, numbers and mappings; anything else in an unusual file."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names at the top level, [] if there are none."""
        return [name for name in self.root if isinstance(name, str)] if isinstance(self.root, Mapping) else []


def sanitize(text: str, length: int = 60) -> str:
    """Returns a text of a file that is safe to print: no control characters, at most `length` characters."""
    plain = "".join(character if character.isprintable() else "." for character in text[: length + 1])
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def join_names(names: list[str], limit: int = 5) -> str:
    """Returns the first names for a message: `a, b, c, ...`."""
    return ", ".join(sanitize(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")
