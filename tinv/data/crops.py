"""Which part of an image is used, and at what size: arithmetic on sizes alone.

A size is (width, height) in pixels of the upright image, as in Pillow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class Crop:
    """A box of an image, and the size that it is resized to."""

    original_size: Size
    """Of the whole image."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom, in pixels of the whole image."""
    size: Size
    """Of the training image."""

    @property
    def is_upscaled(self) -> bool:
        """Whether the box has fewer pixels than the training image."""
        left, top, right, bottom = self.box
        return right - left < self.size[0] or bottom - top < self.size[1]

    def flipped(self) -> "Crop":
        """Returns the same part of the mirrored image."""
        left, top, right, bottom = self.box
        width = self.original_size[0]
        return Crop(self.original_size, (width - right, top, width - left, bottom), self.size)

    def geometry(self) -> Tensor:
        """Returns SDXL's size conditioning, [6] int64 in pixels.

        Original height and width, top and left of the crop in the resized image, target height and width.
        """
        left, top, right, bottom = self.box
        width, height = self.size
        corner = (round(top * (height / (bottom - top))), round(left * (width / (right - left))))
        return torch.tensor([self.original_size[1], self.original_size[0], *corner, height, width])


def center_crop(size: Size, resolution: int) -> Crop:
    """Returns the centered square."""
    width, height = size
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2
    return Crop(size, (left, top, left + side, top + side), (resolution, resolution))


def squash(size: Size, resolution: int) -> Crop:
    """Returns the whole image, distorted into a square."""
    return Crop(size, (0, 0, *size), (resolution, resolution))


def bucket_crop(size: Size, resolution: int) -> Crop:
    """Returns the centered crop that fills the bucket with the nearest aspect ratio, undistorted."""
    width, height = size
    wide, high = min(bucket_sizes(resolution), key=lambda other: abs(log(width * other[1] / (height * other[0]))))
    left = (width - min(width, height * wide / high)) / 2
    top = (height - min(height, width * high / wide)) / 2
    return Crop(size, (left, top, width - left, height - top), (wide, high))


def random_crops(size: Size, resolution: int, *, count: int, generator: torch.Generator) -> list[Crop]:
    """Returns up to `count` different squares: one at a random offset in each `count`-th of the longer side."""
    width, height = size
    side = min(size)
    slack = max(size) - side
    offsets = (torch.arange(count) + torch.rand(count, generator=generator)) / count * slack
    unique = dict.fromkeys(offsets.round().int().tolist())
    corners = [(offset, 0) if width > height else (0, offset) for offset in unique]
    return [Crop(size, (left, top, left + side, top + side), (resolution, resolution)) for left, top in corners]


def bucket_step(resolution: int) -> int:
    """Returns the multiple that bucket sides have: 64 pixels, or a quarter of a resolution below 256."""
    return min(64, max(8, resolution // 4 // 8 * 8))


def bucket_sizes(resolution: int) -> list[Size]:
    """Returns the sizes with at most resolution² pixels whose sides are multiples of `bucket_step`; the square first.

    At 1024 they are among the sizes that SDXL was trained on (Podell et al. 2023, arXiv 2307.01952, appendix I).
    """
    step = bucket_step(resolution)
    square = resolution // step * step
    sizes = [(square, square)]
    for wide in range(square + step, 2 * square + 1, step):
        high = resolution * resolution // wide // step * step
        sizes += [(wide, high), (high, wide)]
    return sizes


FIT_MODES: dict[str, Callable[[Size, int], Crop]] = {"crop": center_crop, "squash": squash, "buckets": bucket_crop}
