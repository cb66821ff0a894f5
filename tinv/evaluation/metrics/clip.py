"""Both towers of a CLIP model (Radford et al. 2021, arXiv 2103.00020).

N pictures or captions, D features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer

from tinv.errors import UserError
from tinv.evaluation.metrics.preprocessing import Preprocessing
from tinv.runs.files import resolve_path
from tinv.silence import quiet

_BATCH = 32


class Clip:
    """Features have unit length, float32, on the CPU."""

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
        place = resolve_path(folder)
        try:
            with quiet():
                model = CLIPModel.from_pretrained(place, dtype=torch.float32)
            return cls(model, CLIPTokenizer.from_pretrained(place), Preprocessing.load(place))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} is no folder of a CLIP model ({str(error).splitlines()[0]})") from error

    def to(self, device: torch.device | str) -> Self:
        """The same, computing there."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Features [N, D] of pictures of any size."""
        pixels = [self.preprocess(picture) for picture in pictures]
        parts = [torch.stack(pixels[i : i + _BATCH]).to(self.model.device) for i in range(0, len(pixels), _BATCH)]
        return torch.cat([_unit(self.model.get_image_features(pixel_values=part)) for part in parts])

    @torch.no_grad()
    def texts(self, captions: Sequence[str]) -> Tensor:
        """Features [N, D] of captions; what does not fit into the tower is cut off."""
        tokens = self.tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
        return _unit(self.model.get_text_features(**tokens.to(self.model.device)))


def _unit(features: Any) -> Tensor:
    """Unit length, whether transformers gives a tensor or (from release 5) an output with the tensor in it."""
    return normalize(getattr(features, "pooler_output", features), dim=-1).cpu()
