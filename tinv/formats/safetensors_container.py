"""The safetensors container: a JSON header and plain bytes. Only the tensors that a layout looks up are read."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, Content, sanitize
from tinv.runs.files import write_atomically

_MAX_HEADER = 2**22
"""Bytes: a model of 5,000 tensors has a fifth of it."""


def is_safetensors(head: bytes) -> bool:
    """Returns whether a file that starts like this is one: a length of 8 bytes, then JSON."""
    return head[8:9] == b"{"


def open_safetensors(path: Path) -> Content:
    """Returns the content of a safetensors file; a tensor is read when it is looked up.

    Raises:
        UserError: the file is damaged.
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(_MAX_HEADER, path.stat().st_size):
        raise UserError(
            f"{path} is no embedding, or a broken safetensors file (its header claims {header} bytes); is it cut "
            f"short? Download or export it again"
        )
    return Content(path, "safetensors", tensors := _Tensors(path), tensors.metadata)


def save_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Writes a safetensors file atomically; returns its path."""
    with write_atomically(path) as draft:
        draft.write_bytes(save(tensors, metadata))
    return path


class _Tensors(Mapping[str, Tensor]):
    """The tensors of a file by name, read on lookup, up to MAX_VALUES numbers in all."""

    def __init__(self, path: Path):
        self._path = path
        self._num_values: dict[str, int] = {}
        try:
            self._file = safe_open(path, framework="pt")  # stays open, because each opening parses the header
            self._names = dict.fromkeys(self._file.keys())
            self.metadata: dict[str, str] = self._file.metadata() or {}
        except Exception as error:  # a damaged file can raise anything in the parser
            raise _broken(path, error) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            shape = self._file.get_slice(name).get_shape()
            self._num_values[name] = prod(shape)
            if sum(self._num_values.values()) <= MAX_VALUES:
                return self._file.get_tensor(name)
        except Exception as error:
            raise _broken(self._path, error) from error
        raise UserError(
            f"{self._path} holds {sanitize(name)} of shape {shape}: with it the file is far too large for an embedding"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is a broken safetensors file ({sanitize(str(error), 200)}); is it cut short? Download or "
        f"export it again"
    )
