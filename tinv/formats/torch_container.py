"""The torch container: a zip of a pickle and plain bytes, or the older row of pickles; code in it is never run."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content, listed
from tinv.formats.pickle_scanner import MAX_PICKLE, Instructions, look_through

_MAX_BYTES = 2**30
"""Room for the whole vocabulary of the widest encoder, which careless programs save with the word."""
_MAX_ENTRIES = 1000
_MAX_DIRECTORY = 2**22
_OLDER_PICKLES = 5  # a number that marks the kind, a version, the machine, the content, the names of the tensors
_RECORD = re.compile(r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.[\w/]+)")
_STANDS_FOR = "torch.nn.modules.container.ParameterDict"


class ParameterDict:
    """Stands in for torch's class of this name, so that a file fills a plain object and runs nothing of torch's."""


def is_torch(head: bytes) -> bool:
    """Whether a file that begins like this is one."""
    return head[:2] == b"PK" or head[:1] == b"\x80"


def open_torch(path: Path) -> Content:
    """The content of what `torch.save` wrote, with `ParameterDict`s as mappings.

    Raises:
        UserError: it is cut short, holds code, or is made to take memory or time.
    """
    try:
        with path.open("rb") as file:
            instructions = _instructions(path, file)
            _check(path, instructions)
            if path.stat().st_size > _MAX_BYTES:
                raise _too_much(path)
            file.seek(0)
            with torch.serialization.safe_globals([(ParameterDict, _STANDS_FOR), set]):
                root = _plain(path, torch.load(file, map_location="cpu", weights_only=True))
    except UserError:
        raise
    except Exception as error:  # a broken file breaks the unpickler in any way
        raise UserError(
            f"{path} cannot be read as plain tensors: it is cut short or broken; fetch it again or ask for a "
            f".safetensors file"
        ) from error
    return Content(path, "torch", root)


def save_torch(path: Path, thing: Any) -> None:
    """Write what `open_torch` reads; a full disk is an OSError, which torch's own writing makes something else of."""
    content = BytesIO()
    torch.save(thing, content)
    path.write_bytes(content.getvalue())


def _instructions(path: Path, file: BinaryIO) -> Instructions:
    if file.read(2) != b"PK":
        file.seek(0)
        return look_through(file.read(MAX_PICKLE), pickles=_OLDER_PICKLES)
    size = path.stat().st_size
    if _directory_bytes(path, file, size) > _MAX_DIRECTORY:
        raise _model(path)
    with ZipFile(file) as archive:
        records = archive.infolist()
        if not all(_RECORD.fullmatch(record.filename) for record in records):
            raise UserError(f"{path} is a zip of {listed([record.filename for record in records])}, not an embedding")
        is_packed = any(record.compress_type != ZIP_STORED for record in records)
        is_doubled = len({record.filename.lower() for record in records}) < len(records)
        if is_packed or is_doubled or sum(record.file_size for record in records) > size:
            raise UserError(f"{path} is a zip that unpacks to more than it is, which torch never writes; do not use it")
        (pickle,) = (record for record in records if record.filename.endswith("/data.pkl"))
        if pickle.file_size > MAX_PICKLE:
            raise _too_much(path)
        return look_through(archive.read(pickle))


def _directory_bytes(path: Path, file: BinaryIO, size: int) -> int:
    """The length of the list of records at the end of a zip, by both of its two end marks."""
    file.seek(max(0, size - 98))
    end = file.read().rjust(98)
    if end[76:80] != b"PK\5\6":
        raise UserError(f"{path} is a zip file that is cut short, or that torch did not write; it is no embedding")
    return max(int.from_bytes(end[88:92], "little"), int.from_bytes(end[40:48], "little") * (end[:4] == b"PK\6\6"))


def _check(path: Path, instructions: Instructions) -> None:
    if instructions.foreign:
        raise UserError(
            f"{path} holds code, which is never run (it asks for {listed(sorted(set(instructions.foreign)))}): it is a "
            f"network, a checkpoint or an attack; ask for a .safetensors file of the embedding"
        )
    if instructions.is_knotted:
        raise UserError(f"{path} holds a structure that no embedding has, made to take memory or time; do not use it")
    if instructions.num_tensors > MAX_TENSORS:
        if any("lora_" in text or ".lora." in text for text in instructions.texts):
            raise UserError(f"{path} is a LoRA, not an embedding; tinv reads textual-inversion files")
        raise _model(path)


def _model(path: Path) -> UserError:
    return UserError(f"{path} is a model or a training checkpoint, not an embedding; give learned_embeds.safetensors")


def _too_much(path: Path) -> UserError:
    return UserError(f"{path} holds far more than a word and its vectors; it is no embedding file")


def _plain(path: Path, thing: Any, depth: int = 2) -> Any:
    """The same in plain mappings and lists, `depth` levels down; a stand-in becomes its parameters."""
    if isinstance(thing, ParameterDict):
        thing = vars(thing).get("_parameters")
    if not isinstance(thing, dict | list) or not depth:
        return thing
    if len(thing) > _MAX_ENTRIES:
        raise _too_much(path)
    if isinstance(thing, list):
        return [_plain(path, value, depth - 1) for value in thing]
    return {name: _plain(path, value, depth - 1) for name, value in dict.items(thing)}
