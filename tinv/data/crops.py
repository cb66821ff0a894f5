"""Which part of a picture is shown, and how large: arithmetic on sizes alone.

A size is (width, height) in pixels of a picture the right way up, as Pillow has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class Crop:
    """A part of a picture, and the size that it is brought to."""

    original: Size
    """Of the whole picture."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the part, in pixels of the whole picture."""
    size: Size
    """Of what is shown."""

    @property
    def enlarges(self) -> bool:
        """The part has fewer pixels than what is shown of it."""
        left, top, right, bottom = self.box
        return right - left < self.size[0] or bottom - top < self.size[1]

    def mirrored(self) -> "Crop":
        """The same part of the mirrored picture."""
        left, top, right, bottom = self.box
        width = self.original[0]
        return Crop(self.original, (width - right, top, width - left, bottom), self.size)

    def geometry(self) -> Tensor:
        """[6] int64: original height and width, top and left in pixels of the scaled picture, height and width."""
        left, top, right, bottom = self.box
        width, height = self.size
        corner = (round(top * (height / (bottom - top))), round(left * (width / (right - left))))
        return torch.tensor([self.original[1], self.original[0], *corner, height, width])


def center_crop(size: Size, resolution: int) -> Crop:
    """The centred square."""
    width, height = size
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2
    return Crop(size, (left, top, left + side, top + side), (resolution, resolution))


def squash(size: Size, resolution: int) -> Crop:
    """Everything, distorted into a square."""
    return Crop(size, (0, 0, *size), (resolution, resolution))


def bucket(size: Size, resolution: int) -> Crop:
    """As much as the bucket with the nearest proportions holds, centred and undistorted."""
    width, height = size
    wide, high = min(bucket_sizes(resolution), key=lambda other: abs(log(width * other[1] / (height * other[0]))))
    left = (width - min(width, height * wide / high)) / 2
    top = (height - min(height, width * high / wide)) / 2
    return Crop(size, (left, top, width - left, height - top), (wide, high))


def random_crops(size: Size, resolution: int, *, count: int, chance: torch.Generator) -> list[Crop]:
    """Up to `count` different squares, spread along the longer side: one at random in each `count`-th of the way."""
    width, height = size
    side = min(size)
    way = max(size) - side
    steps = (torch.arange(count) + torch.rand(count, generator=chance)) / count * way
    corners = [(step, 0) if width > height else (0, step) for step in dict.fromkeys(steps.round().int().tolist())]
    return [Crop(size, (left, top, left + side, top + side), (resolution, resolution)) for left, top in corners]


def bucket_step(resolution: int) -> int:
    """64 pixels, the grid of Stable Diffusion's U-Net, or a quarter of a resolution below 256."""
    return min(64, max(8, resolution // 4 // 8 * 8))


def bucket_sizes(resolution: int) -> list[Size]:
    """The sizes of about resolution² pixels, none with more, whose sides are multiples of one step; the square first.

    At 1024 these are among the sizes that SDXL was trained on (Podell et al. 2023, arXiv 2307.01952, appendix I).
    """
    step = bucket_step(resolution)
    square = resolution // step * step
    sizes = [(square, square)]
    for wide in range(square + step, 2 * square + 1, step):
        high = resolution * resolution // wide // step * step
        sizes += [(wide, high), (high, wide)]
    return sizes


FITS: dict[str, Callable[[Size, int], Crop]] = {"crop": center_crop, "squash": squash, "buckets": bucket}
