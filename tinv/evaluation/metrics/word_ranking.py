"""Ranks words by how well they describe images, according to a CLIP model.

N images, W words, D features.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tinv.evaluation.metrics.base import to_unit_length
from tinv.evaluation.metrics.clip import Clip

_CAPTIONS = {"object": "a photo of a {}", "style": "a painting in the style of {}"}
_BATCH = 256
_END_OF_WORD = "</w>"


def vocabulary_words(tokenizer: Any) -> list[str]:
    """Returns the words of at least three letters that are one token of a vocabulary, in its order.

    Some are endings of longer words; CLIP's vocabulary does not distinguish them.
    """
    ids = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    words = [token.removesuffix(_END_OF_WORD) for token, _ in ids if token.endswith(_END_OF_WORD)]
    return [word for word in words if len(word) > 2 and word.isascii() and word.isalpha()]


@torch.no_grad()
def rank_words(
    clip: Clip, images: Sequence[Image.Image], words: Sequence[str], *, kind: str
) -> list[tuple[str, float]]:
    """Returns the words and their mean cosine with the images, best first (Voronov et al. 2023, arXiv 2302.04841).

    Args:
        clip: image and text encoder.
        images: of one concept.
        words: to choose from.
        kind: `object` or `style`, which decides the caption around the word.
    """
    clip.to("cuda" if torch.cuda.is_available() else "cpu")
    mean_D = clip.encode_images(images).mean(dim=0)
    captions = [_CAPTIONS[kind].format(word) for word in words]
    batches = [captions[i : i + _BATCH] for i in range(0, len(words), _BATCH)]
    cosines = torch.cat([_encode_short_texts(clip, batch) @ mean_D for batch in batches])
    order = cosines.argsort(descending=True, stable=True).tolist()
    return [(words[i], cosines[i].item()) for i in order]


def _encode_short_texts(clip: Clip, captions: Sequence[str]) -> Tensor:
    """Returns the same as `clip.encode_texts`, a tenth of the work: without padding, which does not affect a text."""
    tokens = clip.tokenizer(list(captions), padding=True, return_tensors="pt").to(clip.model.device)
    return to_unit_length(clip.model.get_text_features(**tokens))
