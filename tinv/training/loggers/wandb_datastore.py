"""The file in which W&B's client keeps a run: LevelDB's log format around the client's own messages."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
"""Checksum, length, and which part of a message follows."""
_WHOLE, _LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The client's messages (`wandb.proto.wandb_internal_pb2.Record`) up to where the file ends or was cut short.

    Args:
        path: `run-<id>.wandb`.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content, position, message = path.read_bytes(), _HEADER.size, b""
    while position < len(content):
        if (left := _BLOCK - position % _BLOCK) < _HEADER.size:
            position += left
            continue
        begin = position + _HEADER.size
        if begin > len(content):
            return
        _, length, kind = _HEADER.unpack(content[position:begin])
        position = begin + length
        if position > len(content) or not kind:
            return
        message += content[begin:position]
        if kind in (_WHOLE, _LAST):
            try:
                yield Record.FromString(message)
            except DecodeError:
                return
            message = b""


def last_step(folder: Path, run_id: str) -> int:
    """The last step of a run that its files have; -1 if there is none.

    Args:
        folder: the one that was given to the client.
        run_id: of the run; each of its sessions has a file.
    """
    files = folder.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb")
    steps = (record.history.step.num for path in files for record in records(path) if record.HasField("history"))
    return max(steps, default=-1)
