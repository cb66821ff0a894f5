"""The container of `torch.save`: a zip of a pickle and plain bytes, or the legacy pickles. No code is run."""

import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch

from tinv.errors import UserError
from tinv.formats.content import MAX_ENTRIES, MAX_TENSORS, Content, join_names
from tinv.formats.pickle_scanner import MAX_PICKLE, PickleScan, scan_pickles
from tinv.runs.files import write_atomically

_MAX_BYTES = 2**30
"""Enough for the whole vocabulary of the widest encoder, which some programs save with the token."""
_MAX_BYTES_READ = 2**26
"""A larger file is mapped into memory, and only the token's vectors are read. torch can neither map a legacy file nor
one of a machine with the other byte order."""
_MAX_DIRECTORY = 2**19
_LEGACY_PICKLES = 5  # magic number, version, system, content, storage keys
_RECORD = re.compile(r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.[\w/]+)")
_REPLACED = "torch.nn.modules.container.ParameterDict"


class ParameterDict:
    """Replaces torch's class of this name, so that loading a file fills a plain object and runs no code of torch."""


def is_torch(head: bytes) -> bool:
    """Returns whether a file that starts like this was written by `torch.save`."""
    return head[:2] == b"PK" or head[:1] == b"\x80"


def open_torch(path: Path) -> Content:
    """Returns the content of a file of `torch.save`, with `ParameterDict`s as mappings.

    Raises:
        UserError: the file is damaged, holds code, or is crafted to exhaust memory or time.
    """
    try:
        with path.open("rb") as file:
            scan, can_be_mapped = _scan(path, file)
            _check(path, scan)
            is_large = path.stat().st_size > _MAX_BYTES_READ
            if path.stat().st_size > _MAX_BYTES or (is_large and not can_be_mapped):
                raise _too_large(path)
            file.seek(0)
            source = path if is_large else file  # torch maps paths only, and judges them by their suffix
            with torch.serialization.safe_globals([(ParameterDict, _REPLACED), set]):
                root = _unwrap(path, torch.load(source, map_location="cpu", weights_only=True, mmap=is_large))
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise anything in the unpickler
        raise UserError(
            f"{path} cannot be read as plain tensors: it is cut short or damaged; download it again or ask "
            f"for a .safetensors file"
        ) from error
    return Content(path, "torch", root)


def save_torch(path: Path, tree: Any) -> Path:
    """Writes a file of `torch.save` atomically; returns its path. A full disk is an OSError, as for other files."""
    content = BytesIO()
    torch.save(tree, content)
    with write_atomically(path) as draft:
        draft.write_bytes(content.getvalue())
    return path


def _scan(path: Path, file: BinaryIO) -> tuple[PickleScan, bool]:
    """Returns what the pickles of a file ask for, and whether the tensors can be mapped into memory."""
    if file.read(2) != b"PK":
        file.seek(0)
        return scan_pickles(file.read(MAX_PICKLE), count=_LEGACY_PICKLES), False
    size = path.stat().st_size
    if _directory_bytes(path, file, size) > _MAX_DIRECTORY:
        raise _model(path)
    with ZipFile(file) as archive:
        records = archive.infolist()
        if not all(_RECORD.fullmatch(record.filename) for record in records):
            names = join_names([record.filename for record in records])
            raise UserError(f"{path} is a zip of {names}, not an embedding")
        is_compressed = any(record.compress_type != ZIP_STORED for record in records)
        has_duplicates = len({record.filename.lower() for record in records}) < len(records)
        if is_compressed or has_duplicates or sum(record.file_size for record in records) > size:
            raise UserError(
                f"{path} is a zip that unpacks to more than its size, which torch never writes; do not use it"
            )
        (pickle,) = (record for record in records if record.filename.endswith("/data.pkl"))
        if pickle.file_size > MAX_PICKLE:
            raise _too_large(path)
        byte_order = [record for record in records if record.filename.endswith("/byteorder")]
        is_native = all(r.file_size < 10 and archive.read(r) == sys.byteorder.encode() for r in byte_order)
        return scan_pickles(archive.read(pickle)), is_native


def _directory_bytes(path: Path, file: BinaryIO, size: int) -> int:
    """Returns the length of the directory at the end of a zip, the larger of the zip and the zip64 record's claim."""
    file.seek(max(0, size - 98))
    end = file.read().rjust(98)
    if end[76:80] != b"PK\5\6":
        raise UserError(f"{path} is a zip file that is cut short or was not written by torch; it is no embedding")
    return max(int.from_bytes(end[88:92], "little"), int.from_bytes(end[40:48], "little") * (end[:4] == b"PK\6\6"))


def _check(path: Path, scan: PickleScan) -> None:
    if scan.disallowed:
        raise UserError(
            f"{path} holds code, which is never run (it asks for {join_names(sorted(set(scan.disallowed)))}): it is a "
            f"network, a checkpoint or an attack; ask for a .safetensors file of the embedding"
        )
    if scan.reuses_tuples:
        raise UserError(
            f"{path} holds a structure that no embedding has, crafted to exhaust memory or time; do not use it"
        )
    if scan.num_tensors > MAX_TENSORS:
        if any("lora_" in text or ".lora." in text for text in scan.texts):
            raise UserError(f"{path} is a LoRA, not an embedding; tinv reads textual inversion files")
        raise _model(path)
    if scan.is_too_large:
        raise _too_large(path)


def _model(path: Path) -> UserError:
    return UserError(f"{path} is a model or a training checkpoint, not an embedding; give learned_embeds.safetensors")


def _too_large(path: Path) -> UserError:
    return UserError(f"{path} holds far more than a token and its vectors; it is no embedding file")


def _unwrap(path: Path, value: Any, depth: int = 2) -> Any:
    """Returns the value in plain mappings and lists, `depth` levels down; a ParameterDict becomes its parameters."""
    if isinstance(value, ParameterDict):
        value = vars(value).get("_parameters")
    if not isinstance(value, dict | list) or not depth:
        return value
    if len(value) > MAX_ENTRIES:
        raise _too_large(path)
    if isinstance(value, list):
        return [_unwrap(path, item, depth - 1) for item in value]
    return {name: _unwrap(path, item, depth - 1) for name, item in dict.items(value)}
