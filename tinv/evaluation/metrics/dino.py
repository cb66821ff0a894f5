"""A vision transformer trained without captions: DINO (Caron et al. 2021) or DINOv2 (Oquab et al. 2023).

Its features distinguish objects of one class, where CLIP's distinguish classes (Ruiz et al. 2022, section 4.2).
"""

import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import Dinov2Model, ViTModel

from tinv.errors import UserError
from tinv.evaluation.metrics.base import FeatureExtractor, Preprocessing
from tinv.silence import quiet

_CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "vit": (ViTModel, {"add_pooling_layer": False}),
    "dinov2": (Dinov2Model, {}),
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGIN = 256 / 224
"""DINO's own evaluation resizes to 256 and crops 224; transformers' copy of its settings resizes to 224 x 224."""


class Dino(FeatureExtractor):
    """The features of the class token after the last norm."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads a folder that transformers' `save_pretrained` wrote.

        Raises:
            UserError: there is no such folder, it is incomplete, or holds another kind of model.
        """
        try:
            kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
            if kind not in _CLASSES:
                raise UserError(f"{folder} holds a {kind}; DINO is a {' or a '.join(_CLASSES)}")
            model_class, options = _CLASSES[kind]
            with quiet():
                model: Any = model_class.from_pretrained(folder, dtype=torch.float32, **options)
        except (OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{folder} is no folder of a DINO model ({str(error).splitlines()[0]})") from error
        side = _crop_size(folder) or model.config.image_size
        return cls(model, Preprocessing(round(side * _MARGIN), side, _MEAN, _STD))

    def _encode(self, pixels_N3SS: Tensor) -> Any:
        return self.model(pixels_N3SS).last_hidden_state[:, 0]


def _crop_size(folder: Path) -> int | None:
    """Returns the crop size in the preprocessor's settings: DINOv2 was trained at 518 pixels and is used at 224."""
    try:
        config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    size = config.get("crop_size")
    return size if isinstance(size, int) else (size or {}).get("height")
