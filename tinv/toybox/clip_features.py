"""Features of the toybox's CLIP for images as the renderer returns them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinv.evaluation.metrics.clip import Clip
from tinv.toybox import CLIP


def to_pixels(images: np.ndarray) -> Tensor:
    """Converts images [B, 64, 64, 3] uint8 to the VAE's input [B, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class ToyboxClip:
    """Unit-length features of rendered images and of captions."""

    def __init__(self, folder: Path = CLIP) -> None:
        self.clip = Clip.load(folder)

    def encode_images(self, images: np.ndarray) -> Tensor:
        """Returns the features [B, D] of images [B, 64, 64, 3] uint8."""
        return self.clip.encode_images([Image.fromarray(image) for image in images])

    def encode_texts(self, captions: Sequence[str]) -> Tensor:
        """Returns the features [B, D] of captions."""
        return self.clip.encode_texts(captions)


def area_under_curve(inside: Tensor, outside: Tensor) -> float:
    """Returns the area under the ROC curve: the probability that a random `inside` exceeds a random `outside` score."""
    higher = (inside[:, None] > outside[None]).float() + 0.5 * (inside[:, None] == outside[None]).float()
    return float(higher.mean())
