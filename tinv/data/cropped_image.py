"""A crop of an image as a tensor.

H W height and width of the training image.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tinv.data.crops import Crop


@dataclass(frozen=True)
class CroppedImage:
    """One crop of an image, ready for the VAE."""

    path: Path
    pixels: Tensor
    """[3, H, W] in [-1, 1], float32."""
    crop: Crop
    """Which part of the file it is."""
    mask: Tensor | None = None
    """[1, H, W] in [0, 1], the loss weight of each pixel; None if all weigh the same."""

    @property
    def geometry(self) -> Tensor:
        """[6] int64; see `Crop.geometry`."""
        return self.crop.geometry()

    def flipped(self) -> "CroppedImage":
        """Returns the mirror image, with its mask and geometry."""
        mask = None if self.mask is None else self.mask.flip(-1)
        return CroppedImage(self.path, self.pixels.flip(-1), self.crop.flipped(), mask)


def crop_image(path: Path, image: Image.Image, crop: Crop, mask: Image.Image | None = None) -> CroppedImage:
    """Returns a crop of an image at its training size.

    Args:
        path: for messages.
        image: RGB.
        crop: which part.
        mask: `L` with the image's aspect ratio, white where the loss counts; resized by area.
    """
    width, height = crop.size
    resized = image.resize(crop.size, Image.Resampling.LANCZOS, crop.box)
    bytes_HW3 = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).view(height, width, 3)
    pixels = bytes_HW3.permute(2, 0, 1).float() / 127.5 - 1.0
    if mask is None:
        return CroppedImage(path, pixels, crop)
    scale_x, scale_y = mask.width / image.width, mask.height / image.height
    left, top, right, bottom = crop.box
    box = (left * scale_x, top * scale_y, right * scale_x, bottom * scale_y)
    weights = mask.resize(crop.size, Image.Resampling.BOX, box)
    bytes_HW = torch.frombuffer(bytearray(weights.tobytes()), dtype=torch.uint8).view(1, height, width)
    return CroppedImage(path, pixels, crop, bytes_HW.float() / 255)
