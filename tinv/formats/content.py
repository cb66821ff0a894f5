"""The content of an opened file, before a layout interprets it, and how large it may be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from tinv.errors import UserError

MAX_TENSORS = 64
"""A file with more tensors is a model."""
MAX_VALUES = 2**23
"""Tensors with more numbers in all are no embedding: 75 vectors of SDXL for each of 30 stages are half of it."""
MAX_ENTRIES = 1000
"""Most entries of the metadata, or of any other mapping or list in a file."""


@dataclass(frozen=True)
class Content:
    """An opened file: named values, tensors among them, and the metadata of its container."""

    path: Path
    container: str
    """`safetensors`, `torch` or `image`."""
    root: Any
    """A mapping of names to tensors, texts, numbers and mappings; anything else in an unusual file."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """The names at the top level, [] if there are none."""
        return [name for name in self.root if isinstance(name, str)] if isinstance(self.root, Mapping) else []


def check_size(content: Content) -> Content:
    """Returns the content if its mappings, lists and tensors are of the size of an embedding.

    The tensors of a safetensors file are counted when they are looked up, because a LoRA may contain an embedding.

    Raises:
        UserError: there are too many entries or numbers.
    """
    too_large = UserError(f"{content.path} holds far more than a token and its vectors; it is no embedding file")

    def tensors(value: Any, depth: int) -> Iterator[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif depth and isinstance(value, Mapping | list):
            if len(value) > MAX_ENTRIES:
                raise too_large
            for item in value.values() if isinstance(value, Mapping) else value:
                yield from tensors(item, depth - 1)

    if len(content.metadata) > MAX_ENTRIES:
        raise too_large
    if content.container != "safetensors" and sum(prod(each.shape) for each in tensors(content.root, 2)) > MAX_VALUES:
        raise too_large
    return content


def sanitize(text: str, length: int = 60) -> str:
    """Returns a text of a file that is safe to print: no control characters, at most `length` characters."""
    plain = "".join(character if character.isprintable() else "." for character in text[: length + 1])
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def join_names(names: list[str], limit: int = 5) -> str:
    """Returns the first names for a message: `a, b, c, ...`."""
    return ", ".join(sanitize(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")
