"""A cache of VAE moments on disk, shared by the runs of a sweep and by later runs.

A file's name is a hash of everything that decides the moments: the pixels of the training image and the encoder. So
no entry ever becomes stale, and processes that write the same file write the same bytes.
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
from tinv.runs.files import write_atomically

_CHECKSUM_BYTES = 16
_STALE_DRAFT_S = 24 * 3600.0
"""An older temporary file was left by a process that died."""


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
    """A VAE encoder that reads moments from the cache if they are there; leaving the block evicts old entries."""

    def __init__(self, encode: Callable[[Tensor], Tensor], folder: Path, *, encoder_id: str, max_bytes: int):
        """Wraps an encoder.

        Args:
            encode: [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
            folder: of the cache; all encoders share it.
            encoder_id: equal only for encoders that give the same bits.
            max_bytes: size limit; the least recently used entries are evicted first.
        """
        self.encode, self.folder, self.encoder_id, self.max_bytes = encode, folder / "moments", encoder_id, max_bytes
        self.hits, self.misses = 0, 0
        self._can_write = True

    def __enter__(self) -> Self:
        """Returns the encoder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Evicts entries if any were added."""
        if self.misses:
            with suppress(OSError):
                evict_oldest(self.folder, self.max_bytes)

    def __call__(self, pixels_13HW: Tensor) -> Tensor:
        """Returns the moments [1, 2C, h, w], float32 on the CPU."""
        path = self.path_of(pixels_13HW)
        moments = _read(path)
        if moments is None:
            moments = self.encode(pixels_13HW).float().cpu()
            self.misses += 1
            self._write(path, moments)
        else:
            self.hits += 1
        return moments

    def path_of(self, pixels_13HW: Tensor) -> Path:
        """Returns the file of an image's moments."""
        digest = blake2b(self.encoder_id.encode(), digest_size=16)
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
            with write_atomically(path) as draft:
                draft.write_bytes(_checksum(content.getvalue()) + content.getvalue())
        except UserError as error:
            self._can_write = False
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
            warnings.warn(
                f"paths.cache_dir: cannot write to {self.folder} ({reason}), so every run encodes its images again. "
                f"Set paths.cache_dir to another folder, or to null.",
                stacklevel=3,
            )


def evict_oldest(folder: Path, max_bytes: int) -> None:
    """Deletes the least recently used entries of a cache that exceeds its limit, until it is 90 % full.

    Other processes may do the same, or read an entry that is deleted: they encode the image again.
    """
    now = time.time()
    entries = []
    for path in folder.glob("*/*"):
        with suppress(OSError):
            stat = path.stat()
            if path.suffix == ".pt":
                entries.append((stat.st_mtime, stat.st_size, path))
            elif now - stat.st_mtime > _STALE_DRAFT_S:
                path.unlink()
    total = sum(size for _, size, _ in entries)
    if total <= max_bytes:
        return
    for _, size, path in sorted(entries):
        with suppress(OSError):
            path.unlink()
            total -= size
        if total <= 0.9 * max_bytes:
            return


def _read(path: Path) -> Tensor | None:
    """Returns an entry's moments and mark it as used; None if there is no intact entry."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if content[:_CHECKSUM_BYTES] != _checksum(content[_CHECKSUM_BYTES:]):
        warnings.warn(f"paths.cache_dir: {path} is damaged; its image is encoded again.", stacklevel=4)
        return None
    with suppress(OSError):
        os.utime(path)
    moments: Tensor = torch.load(io.BytesIO(content[_CHECKSUM_BYTES:]), weights_only=True)
    return moments


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
