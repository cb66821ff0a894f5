"""The eyes of the measures: the toybox's own CLIP, shown arrays as the world renders them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tinv.evaluation.metrics.clip import Clip
from tinv.toybox import CLIP


def to_pixels(images: np.ndarray) -> Tensor:
    """What the VAE reads: [B, 64, 64, 3] uint8 to [B, 3, 64, 64] float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class ToyboxClip:
    """Unit-length features of rendered pictures and of captions, through `tinv.evaluation.metrics.clip`."""

    def __init__(self, folder: Path = CLIP) -> None:
        self.clip = Clip.load(folder)

    def encode_images(self, images: np.ndarray) -> Tensor:
        """Features of pictures, [B, 64, 64, 3] uint8 to [B, D]."""
        return self.clip.encode_images([Image.fromarray(image) for image in images])

    def encode_texts(self, captions: Sequence[str]) -> Tensor:
        """Features of captions, [B, D]."""
        return self.clip.encode_texts(captions)


def area_under_curve(inside: Tensor, outside: Tensor) -> float:
    """How surely a score tells two groups apart: the chance that a random insider scores higher than an outsider."""
    higher = (inside[:, None] > outside[None]).float() + 0.5 * (inside[:, None] == outside[None]).float()
    return float(higher.mean())
