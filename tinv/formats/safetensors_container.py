"""The safetensors container: a JSON header and plain bytes, from which only the tensors asked for are read."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, Content, shown

_MAX_HEADER = 2**24


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins like this is one: a length of 8 bytes, and JSON."""
    return head[8:9] == b"{"


def open_safetensors(path: Path) -> Content:
    """The content of a safetensors file; tensors are read when they are looked at.

    Raises:
        UserError: it is not whole, or no such file.
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(_MAX_HEADER, path.stat().st_size):
        raise UserError(
            f"{path} is a broken safetensors file (its header claims {header} bytes); is it cut short? Fetch or "
            f"export it again"
        )
    return Content(path, "safetensors", tensors := _Tensors(path), tensors.metadata)


class _Tensors(Mapping[str, Tensor]):
    """The tensors of a file by name."""

    def __init__(self, path: Path):
        self._path = path
        try:
            with safe_open(path, framework="pt") as file:
                self._names = dict.fromkeys(file.keys())
                self.metadata: dict[str, str] = file.metadata() or {}
        except Exception as error:  # a broken file breaks the parser in any way
            raise _broken(path, error) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            with safe_open(self._path, framework="pt") as file:
                shape = file.get_slice(name).get_shape()
                if prod(shape) <= MAX_VALUES:
                    return file.get_tensor(name)
        except Exception as error:
            raise _broken(self._path, error) from error
        raise UserError(f"{self._path} holds {shown(name)} of shape {shape}: far too much for a word's vectors")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is a broken safetensors file ({shown(str(error), 200)}); is it cut short? Fetch or export it again"
    )
