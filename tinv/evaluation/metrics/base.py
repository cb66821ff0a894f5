"""What the feature extractors share: preprocessing of images, and batching.

N images, D features, S side of the square that a model takes.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

_BATCH = 32


@dataclass(frozen=True)
class Preprocessing:
    """Resizes by the shorter side, crops the center, normalizes. The defaults are those of OpenAI's CLIP."""

    shorter: int = 224
    """The shorter side after resizing."""
    side: int = 224
    """The side of the center crop."""
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads `preprocessor_config.json` of a CLIP model's folder."""
        config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        size = config.get("crop_size", config.get("size", {}))
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", cls.side))
        return cls(side, side, tuple(config.get("image_mean", cls.mean)), tuple(config.get("image_std", cls.std)))

    def __call__(self, image: Image.Image) -> Tensor:
        """Returns the pixels [3, S, S]."""
        size = [length * self.shorter // min(image.size) for length in image.size]
        left, top = ((length - self.side) // 2 for length in size)
        resized = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
        pixels_HW3 = np.asarray(resized.crop((left, top, left + self.side, top + self.side)), np.float32) / 255
        normalized_HW3 = (pixels_HW3 - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normalized_HW3).permute(2, 0, 1)


class FeatureExtractor(ABC):
    """A frozen image model. Its features have unit length and are float32 on the CPU."""

    def __init__(self, model: Any, preprocess: Preprocessing):
        """Args:
        model: of transformers.
        preprocess: for its image encoder.
        """
        self.model, self.preprocess = model.eval().requires_grad_(False), preprocess

    def to(self, device: torch.device | str) -> Self:
        """Moves the model to a device; returns the extractor."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Returns the features [N, D] of images of any size."""
        pixels = [self.preprocess(image) for image in images]
        batches = [torch.stack(pixels[i : i + _BATCH]).to(self.model.device) for i in range(0, len(pixels), _BATCH)]
        return torch.cat([to_unit_length(self._encode(batch)) for batch in batches])

    @abstractmethod
    def _encode(self, pixels_N3SS: Tensor) -> Any:
        """Returns the features [N, D] of one batch, not yet of unit length."""


def to_unit_length(features: Any) -> Tensor:
    """Returns normalized features; transformers 5 wraps the tensor in an output object, earlier releases do not."""
    return normalize(getattr(features, "pooler_output", features), dim=-1).cpu()
