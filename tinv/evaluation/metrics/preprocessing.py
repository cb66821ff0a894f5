"""Pictures as the towers read them.

S side of the square that a tower reads.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Scaled by the shorter side, the middle cut out, normalised; the values are those of OpenAI's CLIP."""

    shorter: int = 224
    """The shorter side after scaling."""
    side: int = 224
    """Of the square that is cut out."""
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The settings of a CLIP's folder, as `preprocessor_config.json` tells them."""
        told = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        size = told.get("crop_size", told.get("size", {}))
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", cls.side))
        return cls(side, side, tuple(told.get("image_mean", cls.mean)), tuple(told.get("image_std", cls.std)))

    def __call__(self, picture: Image.Image) -> Tensor:
        """[3, S, S]"""
        size = [length * self.shorter // min(picture.size) for length in picture.size]
        left, top = ((length - self.side) // 2 for length in size)
        scaled = picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
        pixels_HW3 = np.asarray(scaled.crop((left, top, left + self.side, top + self.side)), np.float32) / 255
        normal_HW3 = (pixels_HW3 - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normal_HW3).permute(2, 0, 1)
