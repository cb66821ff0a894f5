"""The settings of how pictures are brought to size."""

from dataclasses import dataclass

import torch

from tinv.data.crops import FITS, Crop, Size, bucket_step, random_crops
from tinv.data.images import check_background
from tinv.errors import UserError

RANDOM_CROP = "random_crop"
NAMES = (*FITS, RANDOM_CROP)


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Which parts of a picture are shown, and how large."""

    resolution: int | None = None
    """Side of the square, or of the square with the area of the buckets, in pixels; None is the model's own."""
    fit: str = "crop"
    """One of NAMES."""
    crops: int = 8
    """How many random crops of a picture there are."""
    flip: bool = False
    """Show mirrored pictures, too."""
    background: str = "white"
    """Behind transparent parts."""

    def __post_init__(self) -> None:
        if self.fit not in NAMES:
            raise UserError(f"data.fit must be one of {', '.join(NAMES)}, got {self.fit!r}")
        check_background(self.background)
        if self.crops < 1:
            raise UserError(f"data.crops must be 1 or more, got {self.crops}")
        if self.resolution is None:
            return
        if self.resolution < 8:
            raise UserError(f"data.resolution must be 8 or more, or null for the model's own, got {self.resolution}")
        step = bucket_step(self.resolution)
        if self.fit == "buckets" and self.resolution % step:
            raise UserError(
                f"data.resolution must be a multiple of {step} for data.fit=buckets, got {self.resolution}; "
                f"set it to {max(1, round(self.resolution / step)) * step}"
            )

    def make_crops(self, size: Size, resolution: int, *, chance: torch.Generator) -> list[Crop]:
        """What is shown of a picture.

        Args:
            size: of the picture.
            resolution: side of the square, or of the square with the area of the buckets.
            chance: where random crops are.
        """
        if self.fit == RANDOM_CROP:
            return random_crops(size, resolution, count=self.crops, chance=chance)
        return [FITS[self.fit](size, resolution)]
