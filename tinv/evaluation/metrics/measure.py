"""Samples of a word, measured: what they show, and whether they obey.

N samples of a prompt, M references, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from PIL import Image
from torch import Tensor, cat

from tinv.evaluation.metrics.feature_extractors import Towers
from tinv.evaluation.metrics.scores import (
    copy_rate,
    diversity,
    geometric_mean,
    image_similarity,
    mean_pairwise_cosine,
    nearest,
    text_alignment,
)

GAP = "{}"
NAMES = ("clip_i", "clip_t", "clip_t_bare", "dino", "diversity", "nearest", "copies", "score")
"""What is measured; docs/evaluation.md has the formulae."""

Scores = dict[str, float | None]
"""Numbers by `NAMES`; None is what could not be measured."""


@dataclass(frozen=True)
class References:
    """What is to be shown, as the towers see it."""

    clip: Tensor
    """[M, D]"""
    dino: Tensor | None
    """[M, D] of DINO's own width."""

    @classmethod
    def seen_by(cls, feature_extractors: Towers, pictures: Sequence[Image.Image]) -> "References":
        """Of the training pictures."""
        return cls(
            feature_extractors.clip.images(pictures),
            feature_extractors.dino.images(pictures) if feature_extractors.dino else None,
        )

    def points(self) -> Scores:
        """The pictures among themselves: what samples would come to that were as good."""
        if len(self.clip) < 2:
            return {}
        return {
            "clip_i": mean_pairwise_cosine(self.clip),
            "dino": None if self.dino is None else mean_pairwise_cosine(self.dino),
        }


@dataclass(frozen=True)
class Measured:
    """The numbers of all samples, and of those of each prompt."""

    scores: Scores
    prompts: list[dict[str, str | int | float | None]] = field(default_factory=list)


def with_noun(prompt: str, noun: str) -> str:
    """The caption that is said of a sample: the class's plain name in place of the word."""
    return prompt.replace(GAP, noun)


def without_word(prompt: str) -> str:
    """Gal et al.'s caption: the word left out, "A photo of on the moon"."""
    return " ".join(prompt.replace(GAP, " ").split())


def measure(
    feature_extractors: Towers,
    samples: Mapping[str, Sequence[Image.Image]],
    references: References | None,
    *,
    class_noun: str,
) -> Measured:
    """Measure the samples of a word.

    Args:
        towers: what looks at them.
        samples: by prompt, with `{}` where the word stood.
        references: what is to be shown; without them fidelity is not measured.
        class_noun: the plain name of what it is one of.
    """
    prompts = list(samples)
    said = feature_extractors.clip.texts([with_noun(prompt, class_noun) for prompt in prompts])
    bare = feature_extractors.clip.texts([without_word(prompt) for prompt in prompts])
    parts = [
        _Part.of(feature_extractors, samples[prompt], said_D, bare_D)
        for prompt, said_D, bare_D in zip(prompts, said, bare, strict=True)
    ]
    rows: list[dict[str, str | int | float | None]] = [
        {
            "prompt": prompt,
            "caption": with_noun(prompt, class_noun),
            "caption_bare": without_word(prompt),
            "samples": len(samples[prompt]),
            **part.scores(references),
        }
        for prompt, part in zip(prompts, parts, strict=True)
    ]
    scores = _Part.joined(parts).scores(references)
    apart = [found for part in parts if (found := diversity(part.clip)) is not None]
    scores["diversity"] = mean(apart) if apart else None  # of samples of the same prompt
    return Measured(scores, rows)


@dataclass(frozen=True)
class _Part:
    """Features of samples, and of what should be on each of them."""

    clip: Tensor
    """[N, D]"""
    said: Tensor
    """[N, D], of the caption with the noun."""
    bare: Tensor
    """[N, D], of the caption without the word."""
    dino: Tensor | None
    """[N, D] of DINO's own width."""

    @classmethod
    def of(cls, feature_extractors: Towers, pictures: Sequence[Image.Image], said_D: Tensor, bare_D: Tensor) -> "_Part":
        seen_ND = feature_extractors.clip.images(pictures)
        dino_ND = feature_extractors.dino.images(pictures) if feature_extractors.dino else None
        return cls(seen_ND, said_D.expand_as(seen_ND), bare_D.expand_as(seen_ND), dino_ND)

    @classmethod
    def joined(cls, parts: Sequence["_Part"]) -> "_Part":
        dino = [part.dino for part in parts if part.dino is not None]
        return cls(
            cat([part.clip for part in parts]),
            cat([part.said for part in parts]),
            cat([part.bare for part in parts]),
            cat(dino) if dino else None,
        )

    def scores(self, references: References | None) -> Scores:
        found: Scores = dict.fromkeys(NAMES)
        found["clip_t"] = clip_t = text_alignment(self.clip, self.said)
        found["clip_t_bare"] = text_alignment(self.clip, self.bare)
        found["diversity"] = diversity(self.clip)
        if references is not None:
            found["clip_i"] = clip_i = image_similarity(self.clip, references.clip)
            found["nearest"] = nearest(self.clip, references.clip)
            found["copies"] = copy_rate(self.clip, references.clip)
            found["score"] = geometric_mean(clip_i, clip_t)
            if self.dino is not None and references.dino is not None:
                found["dino"] = image_similarity(self.dino, references.dino)
        return found
