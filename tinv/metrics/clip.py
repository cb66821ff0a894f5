"""Likeness of pictures, and of pictures and captions, by a CLIP model (Radford et al. 2021, arXiv 2103.00020).

N and M pictures or captions, D features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer

from tinv.errors import UserError
from tinv.files import locate

_BATCH = 32


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are made ready, as `preprocessor_config.json` tells it; the values are OpenAI's."""

    side: int = 224
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The settings of a model folder."""
        told = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        size = told.get("crop_size", told.get("size", {}))
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", cls.side))
        return cls(side, tuple(told.get("image_mean", cls.mean)), tuple(told.get("image_std", cls.std)))

    def __call__(self, picture: Image.Image) -> Tensor:
        """[3, S, S]: the shorter side scaled to S, the middle cut out, normalised."""
        size = [length * self.side // min(picture.size) for length in picture.size]
        left, top = ((length - self.side) // 2 for length in size)
        scaled = picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
        pixels_HW3 = np.asarray(scaled.crop((left, top, left + self.side, top + self.side)), np.float32) / 255
        normal_HW3 = (pixels_HW3 - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return torch.from_numpy(normal_HW3).permute(2, 0, 1)


class Clip:
    """Both towers of a CLIP model; features have unit length."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, preprocess: Preprocessing):
        """Args:
        model: both towers.
        tokenizer: of its text tower.
        preprocess: of its image tower.
        """
        self.model, self.tokenizer, self.preprocess = model.eval().requires_grad_(False), tokenizer, preprocess

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Load a folder as transformers' `save_pretrained` writes it; `pkg://tinv/toybox/clip` is the toybox's.

        Raises:
            UserError: there is no such folder, or it is not whole.
        """
        place = locate(folder)
        try:
            model = CLIPModel.from_pretrained(place, dtype=torch.float32)
            return cls(model, CLIPTokenizer.from_pretrained(place), Preprocessing.load(place))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} is no folder of a CLIP model ({str(error).splitlines()[0]})") from error

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Features [N, D] of pictures of any size."""
        pixels = [self.preprocess(picture) for picture in pictures]
        parts = [torch.stack(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        return torch.cat([_unit(self.model.get_image_features(pixel_values=part)) for part in parts])

    @torch.no_grad()
    def texts(self, captions: Sequence[str]) -> Tensor:
        """Features [N, D] of captions; what does not fit into the tower is cut off."""
        tokens = self.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
        return _unit(self.model.get_text_features(**tokens))


def clip_i(pictures_ND: Tensor, references_MD: Tensor) -> float:
    """CLIP-I: the mean cosine of all N x M pairs of pictures; 1 is the same picture.

    Alike backgrounds count as much as alike subjects: compare pictures with references in the same scene.
    """
    return (pictures_ND @ references_MD.T).mean().item()


def clip_t(pictures_ND: Tensor, captions_ND: Tensor) -> float:
    """CLIP-T: the mean cosine of each picture with its own caption."""
    assert pictures_ND.shape == captions_ND.shape
    return (pictures_ND * captions_ND).sum(dim=1).mean().item()


def _unit(features: Any) -> Tensor:
    """Unit length, whether transformers gives a tensor or (from release 5) an output with the tensor in it."""
    return normalize(getattr(features, "pooler_output", features), dim=-1)
