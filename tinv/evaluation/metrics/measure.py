"""Measures samples: how similar they are to the training images, and how well they match their prompts.

N samples of a prompt, M references, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Self

from PIL import Image
from torch import Tensor, cat

from tinv.evaluation.metrics.feature_extractors import FeatureExtractors
from tinv.evaluation.metrics.scores import (
    copy_rate,
    diversity,
    geometric_mean,
    image_similarity,
    mean_nearest_cosine,
    mean_pairwise_cosine,
    text_alignment,
)

SLOT = "{}"
"""Where a prompt has the placeholder token."""
NAMES = ("clip_i", "clip_t", "clip_t_bare", "dino", "diversity", "nearest", "copies", "score")
"""The scores; docs/evaluation.md has their formulas."""

Scores = dict[str, float | None]
"""Numbers by `NAMES`; None for a score that cannot be computed."""


@dataclass(frozen=True)
class References:
    """Features of the training images."""

    clip: Tensor
    """[M, D]"""
    dino: Tensor | None
    """[M, D] of DINO's own width."""

    @classmethod
    def encode(cls, extractors: FeatureExtractors, images: Sequence[Image.Image]) -> Self:
        """Encodes the training images."""
        dino = extractors.dino.encode_images(images) if extractors.dino else None
        return cls(extractors.clip.encode_images(images), dino)

    def scores(self) -> Scores:
        """Returns the scores of the training images among themselves: what perfect samples would reach."""
        if len(self.clip) < 2:
            return {}
        return {
            "clip_i": mean_pairwise_cosine(self.clip),
            "dino": None if self.dino is None else mean_pairwise_cosine(self.dino),
        }


@dataclass(frozen=True)
class Measurement:
    """The scores of all samples, and of the samples of each prompt."""

    scores: Scores
    prompts: list[dict[str, Any]]


def insert_class_noun(prompt: str, class_noun: str) -> str:
    """Returns the caption of a sample: the class noun in place of the token."""
    return prompt.replace(SLOT, class_noun)


def remove_slot(prompt: str) -> str:
    """Returns the caption of Gal et al.'s code, without the token: "A photo of on the moon"."""
    return " ".join(prompt.replace(SLOT, " ").split())


def measure(
    extractors: FeatureExtractors,
    samples: Mapping[str, Sequence[Image.Image]],
    references: References | None,
    *,
    class_noun: str,
) -> Measurement:
    """Measures the samples of a token.

    Args:
        extractors: CLIP and optionally DINO.
        samples: by prompt, with `{}` for the token.
        references: the training images; without them there are no image similarities.
        class_noun: the class of the concept, e.g. `cat`.
    """
    captions = {prompt: (insert_class_noun(prompt, class_noun), remove_slot(prompt)) for prompt in samples}
    features = [
        _Features.encode(extractors, samples[prompt], *extractors.clip.encode_texts(texts))
        for prompt, texts in captions.items()
    ]
    prompts = [
        {
            "prompt": prompt,
            "caption": caption,
            "caption_bare": bare_caption,
            "samples": len(samples[prompt]),
            **of_prompt.scores(references),
        }
        for (prompt, (caption, bare_caption)), of_prompt in zip(captions.items(), features, strict=True)
    ]
    scores = _Features.concatenate(features).scores(references)
    diversities = [value for of_prompt in features if (value := diversity(of_prompt.clip)) is not None]
    scores["diversity"] = mean(diversities) if diversities else None  # of samples of the same prompt
    return Measurement(scores, prompts)


@dataclass(frozen=True)
class _Features:
    """Features of samples and of their captions."""

    clip: Tensor
    """[N, D]"""
    caption: Tensor
    """[N, D] of the caption with the class noun."""
    bare_caption: Tensor
    """[N, D] of the caption without the token."""
    dino: Tensor | None
    """[N, D] of DINO's own width."""

    @classmethod
    def encode(
        cls, extractors: FeatureExtractors, images: Sequence[Image.Image], caption_D: Tensor, bare_caption_D: Tensor
    ) -> Self:
        clip_ND = extractors.clip.encode_images(images)
        dino_ND = extractors.dino.encode_images(images) if extractors.dino else None
        return cls(clip_ND, caption_D.expand_as(clip_ND), bare_caption_D.expand_as(clip_ND), dino_ND)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        dino = [part.dino for part in parts if part.dino is not None]
        return cls(
            cat([part.clip for part in parts]),
            cat([part.caption for part in parts]),
            cat([part.bare_caption for part in parts]),
            cat(dino) if dino else None,
        )

    def scores(self, references: References | None) -> Scores:
        scores: Scores = dict.fromkeys(NAMES)
        scores["clip_t"] = clip_t = text_alignment(self.clip, self.caption)
        scores["clip_t_bare"] = text_alignment(self.clip, self.bare_caption)
        scores["diversity"] = diversity(self.clip)
        if references is not None:
            scores["clip_i"] = clip_i = image_similarity(self.clip, references.clip)
            scores["nearest"] = mean_nearest_cosine(self.clip, references.clip)
            scores["copies"] = copy_rate(self.clip, references.clip)
            scores["score"] = geometric_mean(clip_i, clip_t)
            if self.dino is not None and references.dino is not None:
                scores["dino"] = image_similarity(self.dino, references.dino)
        return scores
