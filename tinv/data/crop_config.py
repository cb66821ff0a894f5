"""The settings that choose the crops of an image."""

from dataclasses import dataclass

import torch

from tinv.data.crops import FIT_MODES, Crop, Size, bucket_step, random_crops
from tinv.data.images import check_background
from tinv.errors import UserError

RANDOM_CROP = "random_crop"
FIT_NAMES = (*FIT_MODES, RANDOM_CROP)


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Which parts of an image are used, and at what size."""

    resolution: int | None = None
    """Side of the square, or of the square with the same area as the buckets, in pixels; None is the model's own."""
    fit: str = "crop"
    """One of FIT_NAMES."""
    crops: int = 8
    """Number of random crops per image."""
    flip: bool = False
    """Add the mirror image of each crop."""
    background: str = "white"
    """Color behind transparent pixels."""

    def __post_init__(self) -> None:
        if self.fit not in FIT_NAMES:
            raise UserError(f"data.fit={self.fit}: must be one of {', '.join(FIT_NAMES)}.")
        check_background(self.background)
        if self.crops < 1:
            raise UserError(f"data.crops={self.crops}: must be 1 or more.")
        if self.resolution is None:
            return
        if self.resolution < 8:
            raise UserError(f"data.resolution={self.resolution}: must be 8 or more, or null for the model's own.")
        step = bucket_step(self.resolution)
        if self.fit == "buckets" and self.resolution % step:
            raise UserError(
                f"data.resolution={self.resolution}: data.fit=buckets needs a multiple of {step}. "
                f"Set data.resolution={max(1, round(self.resolution / step)) * step}."
            )

    def make_crops(self, size: Size, resolution: int, *, generator: torch.Generator) -> list[Crop]:
        """Returns the crops of an image.

        Args:
            size: of the image.
            resolution: side of the square, or of the square with the same area as the buckets.
            generator: for the offsets of random crops.
        """
        if self.fit == RANDOM_CROP:
            return random_crops(size, resolution, count=self.crops, generator=generator)
        return [FIT_MODES[self.fit](size, resolution)]
