"""Each picture through the VAE once, before training: its moments in every way in which training will show it.

V views of a picture, C latent channels, H W height and width of the training picture, h w of its latents.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinv.data.images import CroppedImage


@dataclass(frozen=True)
class EncodedViews:
    """One picture in V ways: its cuts, each as it is, and mirrored where flipping is on."""

    moments: Tensor
    """[V, 2C, h, w] float32 on the CPU."""
    geometry: Tensor
    """[V, 6]"""
    mask: Tensor | None = None
    """[V, 1, h, w], or None if every place counts alike."""

    def __len__(self) -> int:
        return len(self.moments)


def encode_views(
    pictures: Iterable[CroppedImage], encode: Callable[[Tensor], Tensor], *, flip: bool, mask_floor: float = 0.0
) -> EncodedViews:
    """Moments of the cuts of one picture, so that the posterior can still be sampled afresh at every step.

    They go through the VAE one at a time: moments do not depend on neighbours, to the last bit.

    Args:
        pictures: its cuts, of one size.
        encode: the frozen VAE, [1, 3, H, W] in [-1, 1] -> [1, 2C, h, w].
        flip: each cut mirrored, too, behind it.
        mask_floor: what a place that a mask leaves out still counts.
    """
    seen = [view for picture in pictures for view in ((picture, picture.mirrored()) if flip else (picture,))]
    moments = torch.cat([encode(view.pixels.unsqueeze(0)).float().cpu() for view in seen])
    size = moments.shape[-2:]
    masks = [mask_floor + (1 - mask_floor) * _shrink(view.mask, size) for view in seen if view.mask is not None]
    return EncodedViews(
        moments=moments,
        geometry=torch.stack([view.geometry for view in seen]),
        mask=torch.stack(masks) if masks else None,
    )


def pack_tensors(views: Sequence[EncodedViews]) -> list[EncodedViews]:
    """The same views, with their numbers side by side instead of among what was freed while they were made."""
    moments, geometry = (_side_by_side([getattr(each, name) for each in views]) for name in ("moments", "geometry"))
    masks = iter(_side_by_side([each.mask for each in views if each.mask is not None]))
    return [
        EncodedViews(moments, geometry, None if each.mask is None else next(masks))
        for each, moments, geometry in zip(views, moments, geometry, strict=True)
    ]


def _side_by_side(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not tensors:
        return []
    parts = torch.cat([each.flatten() for each in tensors]).split([each.numel() for each in tensors])
    return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]


def _shrink(mask_1HW: Tensor, size: torch.Size) -> Tensor:
    """[1, h, w]: the share of each latent pixel's area that counts."""
    return F.interpolate(mask_1HW.unsqueeze(0), size=tuple(size), mode="area").squeeze(0)


def release_free_memory() -> None:
    """Return every free page; does nothing where the C library has no call for it. Takes about a millisecond."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; Windows takes no None
        return None
