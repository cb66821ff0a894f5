"""The image and the text encoder of a CLIP model (Radford et al. 2021, arXiv 2103.00020).

N images or captions, D features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from tinv.errors import UserError
from tinv.evaluation.metrics.base import FeatureExtractor, Preprocessing, to_unit_length
from tinv.runs.files import resolve_path
from tinv.silence import quiet


class Clip(FeatureExtractor):
    """CLIP's projected image and text features."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, preprocess: Preprocessing):
        """Args:
        model: both encoders.
        tokenizer: of the text encoder.
        preprocess: for the image encoder.
        """
        super().__init__(model, preprocess)
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Loads a folder that transformers' `save_pretrained` wrote; `pkg://tinv/toybox/clip` is the toybox's.

        Raises:
            UserError: there is no such folder, or it is incomplete.
        """
        path = resolve_path(folder)
        try:
            with quiet():
                model = CLIPModel.from_pretrained(path, dtype=torch.float32)
            return cls(model, CLIPTokenizer.from_pretrained(path), Preprocessing.load(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} is no folder of a CLIP model ({str(error).splitlines()[0]})") from error

    @torch.no_grad()
    def encode_texts(self, captions: Sequence[str]) -> Tensor:
        """Returns the features [N, D] of captions; a caption that is too long is truncated."""
        tokens = self.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
        return to_unit_length(self.model.get_text_features(**tokens.to(self.model.device)))

    def _encode(self, pixels_N3SS: Tensor) -> Any:
        return self.model.get_image_features(pixel_values=pixels_N3SS)
