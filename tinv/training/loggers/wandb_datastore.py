"""Reads the file of an offline W&B run: W&B's own messages in LevelDB's log format."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
"""Checksum, length, and the type of the chunk that follows."""
_FULL, _LAST = 1, 4


def read_records(path: Path) -> Iterator[Any]:
    """Yields the messages (`wandb.proto.wandb_internal_pb2.Record`) of a `run-<id>.wandb` file up to any truncation."""
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
        _, length, chunk_type = _HEADER.unpack(content[position:begin])
        position = begin + length
        if position > len(content) or not chunk_type:
            return
        message += content[begin:position]
        if chunk_type in (_FULL, _LAST):
            try:
                yield Record.FromString(message)
            except DecodeError:
                return
            message = b""


def last_step(dir: Path, run_id: str) -> int:
    """Returns the last step in the files that the sessions of a run have below the `dir` of `wandb.init`, else -1."""
    files = dir.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb")
    steps = (record.history.step.num for path in files for record in read_records(path) if record.HasField("history"))
    return max(steps, default=-1)
