"""The vectors that every reader returns: [K, D], float32, on the CPU, finite.

K vectors, D width.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_VALUES, sanitize
from tinv.formats.text_encoders import encoder_of_width

_SDXL_WIDTHS = {"clip_l": 768, "clip_g": 1280}


def read_vectors(path: Path, name: str, value: Any) -> Tensor:
    """Returns a value of a file as vectors [K, D].

    Raises:
        UserError: it is not a tensor of vectors, or not finite.
    """
    is_vectors = isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (1, 2)
    if not is_vectors or not 0 < value.numel() <= MAX_VALUES:
        kind = f"of shape {list(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"{path} holds {sanitize(name)!r} {kind}, not vectors [K, D]; it is no embedding file")
    vectors_KD = to_float32(value)
    if not vectors_KD.isfinite().all():
        raise UserError(f"{path}: the values of {sanitize(name)!r} are not finite; the run that wrote it had failed")
    return vectors_KD


def to_float32(vectors: Tensor) -> Tensor:
    """Returns a copy of vectors [D] or [K, D] with its own memory: [K, D], float32, on the CPU."""
    vectors = vectors.detach().reshape(-1, vectors.shape[-1])
    return vectors.to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)


def split_by_encoder(vectors_KD: Tensor) -> dict[str, Tensor]:
    """Returns the vectors by text encoder, judged by their width; SDXL's two side by side are split."""
    if vectors_KD.shape[1] == sum(_SDXL_WIDTHS.values()):
        parts = vectors_KD.split(list(_SDXL_WIDTHS.values()), dim=1)
        return {encoder: part.contiguous() for encoder, part in zip(_SDXL_WIDTHS, parts, strict=True)}
    return {encoder_of_width(vectors_KD.shape[1]): vectors_KD}
