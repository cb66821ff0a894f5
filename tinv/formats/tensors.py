"""Vectors as every reader gives them: [K, D], float32, on the CPU, finite.

K rows, D width.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, shown
from tinv.formats.learned_embedding import encoder_of_width

SDXL_WIDTHS = {"clip_l": 768, "clip_g": 1280}


def rows_of(path: Path, name: str, value: Any) -> Tensor:
    """The vectors that a file holds under a name.

    Raises:
        UserError: they are no vectors, or not finite.
    """
    is_rows = isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (1, 2)
    if not is_rows or not 0 < value.numel() <= MAX_VALUES:
        kind = f"of shape {list(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"{path} holds {shown(name)!r} {kind}, not vectors [K, D]; it is no embedding file")
    rows_KD = plain(value)
    if not rows_KD.isfinite().all():
        raise UserError(f"{path} holds values of {shown(name)!r} that are not finite; the run that wrote it had failed")
    return rows_KD


def plain(rows: Tensor) -> Tensor:
    """A copy of vectors [D] or [K, D] that shares nothing: [K, D], float32, on the CPU."""
    rows = rows.detach().reshape(-1, rows.shape[-1])
    return rows.to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)


def by_encoder(rows_KD: Tensor) -> dict[str, Tensor]:
    """The vectors by text encoder, where only their width tells it; SDXL's two side by side are parted."""
    if rows_KD.shape[1] == sum(SDXL_WIDTHS.values()):
        parts = rows_KD.split(list(SDXL_WIDTHS.values()), dim=1)
        return {encoder: part.contiguous() for encoder, part in zip(SDXL_WIDTHS, parts, strict=True)}
    return {encoder_of_width(rows_KD.shape[1]): rows_KD}
