"""What lies in a file, before anybody says what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_TENSORS = 64
"""More tensors than that are a model, whatever they are called."""
MAX_VALUES = 2**24
"""More numbers than that are no word: 75 vectors of the widest encoder are a fiftieth of it."""


@dataclass(frozen=True)
class Content:
    """An opened file: named things, tensors among them, and the texts that its container keeps beside them."""

    path: Path
    container: str
    """`safetensors`, `torch` or `picture`."""
    root: Any
    """A mapping of names to tensors, texts, numbers and mappings; other things where the file is unusual."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names at the top, [] where there are none."""
        return [name for name in self.root if isinstance(name, str)] if isinstance(self.root, Mapping) else []


def shown(text: str, length: int = 60) -> str:
    """A text of a file, safe to print: nothing that a terminal would obey, and not too long."""
    plain = "".join(character if character.isprintable() else "." for character in text[: length + 1])
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def listed(names: list[str], most: int = 5) -> str:
    """The first of some names, in brackets behind a sentence."""
    return ", ".join(shown(name) for name in names[:most]) + (", ..." if len(names) > most else "")
