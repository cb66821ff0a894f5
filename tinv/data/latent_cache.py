"""Moments that were made before, kept on disk by content: for the next point of a sweep, and the next run.

A picture's file is named by what decides its moments, to the last bit: its pixels as training shows them, and the
encoder. So nothing ever has to be declared stale, and processes that write the same file write the same bytes.
"""

import io
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs
import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.runs.files import atomic

_SUM_BYTES = 16
_ABANDONED_S = 24 * 3600.0
"""A draft that is older than this belongs to nobody."""


def cache_folder(setting: str | None) -> Path | None:
    """Returns the folder that `paths.cache_dir` names.

    Args:
        setting: a path, None for no cache, or `auto`: `$TINV_CACHE`, else the user's cache folder of the system.
    """
    if setting is None:
        return None
    if setting == "auto":
        return Path(os.environ.get("TINV_CACHE") or platformdirs.user_cache_path("tinv", appauthor=False)).expanduser()
    return Path(setting).expanduser()


class LatentCache:
    """An encoder that looks up what it has made before. Leaving the block makes room if there is too much."""

    def __init__(self, encode: Callable[[Tensor], Tensor], folder: Path, *, encoder: str, max_bytes: int):
        """Args:
        encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
        folder: for the files of all encoders.
        encoder: tells it from all others that give other bits.
        most_bytes: how much may be kept; what was not used for longest goes first.
        """
        self.encode, self.folder, self.encoder, self.max_bytes = encode, folder / "moments", encoder, max_bytes
        self.looked_up, self.made = 0, 0
        self._can_write = True

    def __enter__(self) -> Self:
        """The encoder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Make room."""
        if self.made:
            with suppress(OSError):
                evict_oldest(self.folder, self.max_bytes)

    def __call__(self, pixels_13HW: Tensor) -> Tensor:
        """Moments [1, 2C, h, w], float32 on the CPU."""
        path = self.place(pixels_13HW)
        moments = _read(path)
        if moments is None:
            moments = self.encode(pixels_13HW).float().cpu()
            self.made += 1
            self._write(path, moments)
        else:
            self.looked_up += 1
        return moments

    def place(self, pixels_13HW: Tensor) -> Path:
        """Where the moments of a picture are."""
        digest = blake2b(self.encoder.encode(), digest_size=16)
        digest.update(repr(tuple(pixels_13HW.shape)).encode())
        digest.update(pixels_13HW.float().cpu().contiguous().numpy().tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.pt"

    def _write(self, path: Path, moments: Tensor) -> None:
        if not self._can_write:
            return
        content = io.BytesIO()
        torch.save(moments, content)
        try:
            with atomic(path) as draft:
                draft.write_bytes(_sum(content.getvalue()) + content.getvalue())
        except UserError as error:
            self._can_write = False
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
            warnings.warn(
                f"paths.cache_dir: cannot write to {self.folder} ({reason}), so that every run encodes its pictures anew; "
                f"name another folder, or null",
                stacklevel=3,
            )


def evict_oldest(folder: Path, max_bytes: int) -> None:
    """Delete the files that were not used for longest until a tenth of the room is free, if there is too much.

    Other processes may do the same, or read what goes: they encode again.
    """
    now = time.time()
    found = []
    for path in folder.glob("*/*"):
        with suppress(OSError):
            stat = path.stat()
            if path.suffix == ".pt":
                found.append((stat.st_mtime, stat.st_size, path))
            elif now - stat.st_mtime > _ABANDONED_S:
                path.unlink()
    total = sum(size for _, size, _ in found)
    if total <= max_bytes:
        return
    for _, size, path in sorted(found):
        with suppress(OSError):
            path.unlink()
            total -= size
        if total <= 0.9 * max_bytes:
            return


def _read(path: Path) -> Tensor | None:
    """What a file holds, or None if there is none, or it is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if content[:_SUM_BYTES] != _sum(content[_SUM_BYTES:]):
        warnings.warn(f"paths.cache_dir: {path} is damaged; its picture is encoded again", stacklevel=4)
        return None
    with suppress(OSError):
        os.utime(path)  # used now
    moments: Tensor = torch.load(io.BytesIO(content[_SUM_BYTES:]), weights_only=True)
    return moments


def _sum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_SUM_BYTES).digest()
