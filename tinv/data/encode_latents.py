"""Encodes each image with the VAE once, before training: the moments of every crop that training uses.

V views of an image, C latent channels, H W height and width of the training image, h w of its latents.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinv.data.cropped_image import CroppedImage


@dataclass(frozen=True)
class EncodedViews:
    """The encoded views of one image: its crops and, with flipping, their mirror images."""

    moments: Tensor
    """[V, 2C, h, w] float32 on the CPU."""
    geometry: Tensor
    """[V, 6]; see `tinv.data.crops.Crop.geometry`."""
    mask: Tensor | None = None
    """[V, 1, h, w], the loss weight of each latent pixel; None if all weigh the same."""

    def __len__(self) -> int:
        return len(self.moments)


def encode_views(
    crops: Iterable[CroppedImage], encode: Callable[[Tensor], Tensor], *, flip: bool, mask_floor: float = 0.0
) -> EncodedViews:
    """Returns the moments of the crops of one image; each training step samples the posterior anew.

    The VAE encodes one crop at a time, so that an image's moments do not depend, even in the last bit, on the others.

    Args:
        crops: of one image, with one size.
        encode: the frozen VAE, [1, 3, H, W] in [-1, 1] -> moments [1, 2C, h, w].
        flip: add the mirror image of each crop, directly after it.
        mask_floor: the loss weight where a mask is black.
    """
    views = [view for crop in crops for view in ((crop, crop.flipped()) if flip else (crop,))]
    moments = torch.cat([encode(view.pixels.unsqueeze(0)).float().cpu() for view in views])
    size = moments.shape[-2:]
    masks = [mask_floor + (1 - mask_floor) * _shrink(view.mask, size) for view in views if view.mask is not None]
    return EncodedViews(
        moments=moments,
        geometry=torch.stack([view.geometry for view in views]),
        mask=torch.stack(masks) if masks else None,
    )


def pack_tensors(images: Sequence[EncodedViews]) -> list[EncodedViews]:
    """Returns copies whose tensors share one block of memory each, so that the heap is not fragmented."""
    moments, geometry = (_pack([getattr(views, name) for views in images]) for name in ("moments", "geometry"))
    masks = iter(_pack([views.mask for views in images if views.mask is not None]))
    return [
        EncodedViews(moments, geometry, None if views.mask is None else next(masks))
        for views, moments, geometry in zip(images, moments, geometry, strict=True)
    ]


def _pack(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not tensors:
        return []
    flat = torch.cat([tensor.flatten() for tensor in tensors]).split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(flat, tensors, strict=True)]


def _shrink(mask_1HW: Tensor, size: torch.Size) -> Tensor:
    """Returns [1, h, w]: the mean weight over each latent pixel's area."""
    return F.interpolate(mask_1HW.unsqueeze(0), size=tuple(size), mode="area").squeeze(0)


def release_free_memory() -> None:
    """Returns freed memory to the system; does nothing where the C library has no `malloc_trim`. Takes about 1 ms.

    glibc's heap shrinks only at its end: memory freed below a small live tensor stays with the process.
    """
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; on Windows, CDLL(None) is a TypeError
        return None
