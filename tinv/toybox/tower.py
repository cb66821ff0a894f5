"""How alike two pictures are, or a picture and a caption: the towers of the toybox's own CLIP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from tinv.toybox import CLIP


def pixels(images: np.ndarray) -> Tensor:
    """What the image tower and the VAE read: [B, 64, 64, 3] uint8 to [B, 3, 64, 64] float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Tower:
    """Unit-length features of pictures and of captions."""

    def __init__(self, folder: Path = CLIP) -> None:
        self.model = CLIPModel.from_pretrained(folder).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def see(self, images: np.ndarray) -> Tensor:
        """Features of pictures, [B, 64, 64, 3] uint8 to [B, D]."""
        parts = [self.model.get_image_features(pixel_values=part) for part in pixels(images).split(100)]
        return torch.cat([unit(part) for part in parts])

    @torch.no_grad()
    def read(self, captions: Sequence[str]) -> Tensor:
        """Features of captions, [B, D]."""
        ids = self.tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt").input_ids
        return unit(self.model.get_text_features(input_ids=ids))


def unit(features: Any) -> Tensor:
    """Features at length one, whether transformers hands over a tensor or an output that holds it."""
    return functional.normalize(getattr(features, "pooler_output", features), dim=-1)


def area_under_curve(inside: Tensor, outside: Tensor) -> float:
    """How surely a score tells two groups apart: the chance that a random insider scores higher than an outsider."""
    higher = (inside[:, None] > outside[None]).float() + 0.5 * (inside[:, None] == outside[None]).float()
    return float(higher.mean())
