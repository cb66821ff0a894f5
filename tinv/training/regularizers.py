"""The words around a learned word are to mean what they mean around an ordinary one.

B prompts, L tokens, D width, K rows of the word, N tokens of the ordinary word.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tinv.concept import Concept
from tinv.data.captions import CONTEXT_TEMPLATES, read_templates
from tinv.embeddings import EmbeddingConfig, LearnedToken
from tinv.errors import UserError
from tinv.models import LatentDiffusion
from tinv.runs.files import locate
from tinv.seeding import generator


class Regularizer(Protocol):
    """Something to be minimised beside the loss: of one word, once an optimizer step, whatever the batch."""

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Say what stands in the way, before anything loads.

        Raises:
            UserError: this word cannot be regularized like this.
        """

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor | None:
        """What is added to the loss, weighted already; gradients reach the rows."""


class Nothing:
    """Adds nothing."""

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Goes with everything."""

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> None:
        """None."""


NOTHING = Nothing()


@dataclass(frozen=True, kw_only=True)
class DistanceRegularizer:
    """The rows' mean distance from their start (Cross Initialization, Pang et al. 2023, arXiv 2312.15905).

    As in the authors' code the distance is not squared: the pull is `weight` for a row alone, however far it has gone.
    Gal et al. 2022 squared it, and found no gain.
    """

    weight: float = 1e-5
    """What a distance of 1 costs; 1e-5 with starts at the text encoder's output, 1e-4 to 1e-2 with those at words."""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise UserError(f"regularizer.weight must be above 0, got {self.weight}; regularizer=none leaves it out")

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Goes with every word."""

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor:
        """weight x mean over the rows of |row - start|, the encoders' added up."""
        distances = [
            (rows_KD - word.init_vectors[encoder].to(rows_KD.device)).norm(dim=1).mean()
            for encoder, rows_KD in word.embedding.weights.items()
        ]
        return self.weight * torch.stack(distances).sum()


@dataclass(frozen=True, kw_only=True)
class ContextRegularizer:
    """Context-embedding regularization (CoRe, Wu et al. 2024, arXiv 2408.15914), without its attention maps.

    Prompts such as "a photo of {} on the beach" are read twice, with the learned word and with `concept.initializer_token`.
    What the text encoder makes of the tokens behind the word, up to the end of the text, should be the same:
    1 - cosine, mean over tokens and prompts. (Those before the word cannot know of it.) No pictures are needed, and the
    U-Net is not run.
    """

    weight: float = 1.5e-4
    """What a cosine of 0 costs; the paper's value, for Stable Diffusion 2.1. 1e-4 to 1e-2."""
    num_prompts: int = 1
    """How many prompts are read at each step, of those in the list; 1 to 8."""
    templates_file: str | None = None
    """Prompts of your own, one a line, each with `{}` for the word and something behind it; None is our list."""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise UserError(f"regularizer.weight must be above 0, got {self.weight}; regularizer=none leaves it out")
        if self.num_prompts < 1:
            raise UserError(f"regularizer.num_prompts must be 1 or more, got {self.num_prompts}")

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Whether there is an ordinary word to compare with, and something to compare.

        Raises:
            UserError: there is no initializer, no prompt fits, or the word has parts.
        """
        if not (concept.initializer_token or embedding.init == "clip"):
            raise UserError(
                "regularizer=context compares with concept.initializer_token, which is null; name the thing with one word"
            )
        if concept.kind == "style" and self.templates_file is None:
            raise UserError(
                "regularizer=context has prompts about things, not styles; give regularizer.templates_file, one prompt "
                "a line such as 'in the style of {}, a house by the sea'"
            )
        if embedding.has_parts:
            raise UserError(
                "regularizer=context reads a word in one way, and this one has rows for each stage or layer; "
                "take embedding=token, or another regularizer"
            )
        self._prompts()

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor:
        """weight x mean of 1 - cosine, of prompts that are drawn for the step."""
        prompts = self._prompts()
        chance = generator(seed, "context", step)
        chosen = [prompts[i] for i in torch.randint(len(prompts), (self.num_prompts,), generator=chance).tolist()]
        ordinary = word.concept.initializer_token or ""
        learned_BLD = model.encode_text(
            [prompt.format(word.placeholder_token) for prompt in chosen], word.embedding.vectors()
        )
        with torch.no_grad():
            usual_BLD = model.encode_text([prompt.format(ordinary) for prompt in chosen], {})
        tokenizer = next(iter(model.tokenizers.values()))

        def count(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False).input_ids)

        rows, tokens = len(next(iter(word.embedding.parameters()))), count(ordinary)
        losses = []
        for i, (before, after) in enumerate(prompt.split("{}") for prompt in chosen):
            first, length = 1 + count(before), count(after) + 1
            context_LD = learned_BLD.hidden[i, first + rows :][:length]
            usual_LD = usual_BLD.hidden[i, first + tokens :][: len(context_LD)]
            losses.append(1 - cosine_similarity(context_LD[: len(usual_LD)].float(), usual_LD.float(), dim=1).mean())
        return self.weight * torch.stack(losses).mean()

    def _prompts(self) -> tuple[str, ...]:
        path = CONTEXT_TEMPLATES if self.templates_file is None else locate(self.templates_file)
        prompts = _behind(path)
        if not prompts:
            raise UserError(f"regularizer.templates_file: {path} has no prompt in which something stands behind {{}}")
        return prompts


@lru_cache(maxsize=8)
def _behind(path: Path) -> tuple[str, ...]:
    """The prompts in which something stands behind the word."""
    prompts = read_templates(path, setting="regularizer.templates_file")
    return tuple(prompt for prompt in prompts if prompt.partition("{}")[2].strip())
