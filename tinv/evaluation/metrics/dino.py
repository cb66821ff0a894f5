"""A vision transformer trained without words: DINO (Caron et al. 2021) or DINOv2 (Oquab et al. 2023).

Its features tell single things of a class from each other, where CLIP's tell classes (Ruiz et al. 2022, section 4.2).

N pictures, D features.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import Dinov2Model, ViTModel

from tinv.errors import UserError
from tinv.evaluation.metrics.preprocessing import Preprocessing
from tinv.silence import quiet

_KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "vit": (ViTModel, {"add_pooling_layer": False}),
    "dinov2": (Dinov2Model, {}),
}
_BATCH = 32
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGIN = 256 / 224
"""DINO's own evaluation scales to 256 and cuts out 224; transformers' copy of its settings squashes to 224 instead."""


class Dino:
    """Features are the class token's after the last norm: unit length, float32, on the CPU."""

    def __init__(self, model: ViTModel | Dinov2Model, preprocess: Preprocessing):
        """Args:
        model: the transformer.
        preprocess: what it reads.
        """
        self.model, self.preprocess = model.eval().requires_grad_(False), preprocess

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder as transformers' `save_pretrained` writes it.

        Raises:
            UserError: there is no such folder, it is not whole, or it is of another kind.
        """
        try:
            kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
            if kind not in _KINDS:
                raise UserError(f"{folder} holds a {kind}; DINO is a {' or a '.join(_KINDS)}")
            made, options = _KINDS[kind]
            with quiet():
                model: Any = made.from_pretrained(folder, dtype=torch.float32, **options)
        except (OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{folder} is no folder of a DINO ({str(error).splitlines()[0]})") from error
        side = _crop_size(folder) or model.config.image_size
        return cls(model, Preprocessing(round(side * _MARGIN), side, _MEAN, _STD))

    def to(self, device: torch.device | str) -> Self:
        """The same, computing there."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Features [N, D] of pictures of any size."""
        pixels = [self.preprocess(picture) for picture in pictures]
        parts = [torch.stack(pixels[i : i + _BATCH]).to(self.model.device) for i in range(0, len(pixels), _BATCH)]
        return torch.cat([normalize(self.model(part).last_hidden_state[:, 0], dim=-1).cpu() for part in parts])


def _crop_size(folder: Path) -> int | None:
    """DINOv2 was trained at 518 pixels, and is used at the 224 that its settings say."""
    try:
        told = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    size = told.get("crop_size")
    return size if isinstance(size, int) else (size or {}).get("height")
