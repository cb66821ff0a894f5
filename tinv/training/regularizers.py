"""Regularization terms that are added to the loss of each concept.

Shapes: B prompts, L tokens, K vectors of the learned token, D width of the text encoder.
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
from tinv.runs.files import resolve_path
from tinv.seeding import generator


class Regularizer(Protocol):
    """A term of one token, added to the loss once an optimizer step, whatever the batch."""

    def check(self, concept: Concept, embedding: EmbeddingConfig, *, has_unet: bool = True) -> None:
        """Checks that a concept can be regularized, before anything loads.

        Args:
            concept: to learn.
            embedding: its settings.
            has_unet: whether the model is a Stable Diffusion 1, 2 or XL.

        Raises:
            UserError: it cannot.
        """

    def __call__(self, token: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor | None:
        """Returns the weighted term [], differentiable in the token's vectors, or None."""


class NoRegularizer:
    """Adds nothing."""

    def check(self, concept: Concept, embedding: EmbeddingConfig, *, has_unet: bool = True) -> None:
        """Accepts every concept."""

    def __call__(self, token: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> None:
        """Returns None."""


NO_REGULARIZER = NoRegularizer()


@dataclass(frozen=True, kw_only=True)
class L2ToInitRegularizer:
    """weight x mean over k of |v_k - v_k(0)|, added up over the text encoders.

    This is Cross Initialization's term (Pang et al. 2023, arXiv 2312.15905). As in the authors' code, the norm is not
    squared, so the gradient of a single vector has norm `weight` at every distance. Gal et al. 2022 squared it, and
    found no gain.
    """

    weight: float = 1e-5
    """Factor of the distance: 1e-5 with `embedding.init=cross`, 1e-4 to 1e-2 otherwise."""

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def check(self, concept: Concept, embedding: EmbeddingConfig, *, has_unet: bool = True) -> None:
        """Accepts every concept."""

    def __call__(self, token: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor:
        """Returns the weighted mean distance [] from the initial vectors."""
        distances = [
            (vectors_KD - token.init_vectors[encoder].to(vectors_KD.device)).norm(dim=1).mean()
            for encoder, vectors_KD in token.embedding.weights.items()
        ]
        return self.weight * torch.stack(distances).sum()


@dataclass(frozen=True, kw_only=True)
class ContextRegularizer:
    """weight x mean(1 - cosine) of the text features after the token (CoRe, Wu et al. 2024, arXiv 2408.15914).

    A prompt such as "a photo of {} on the beach" is encoded twice: with the learned token, and with
    `concept.initializer_token`. The features of the tokens after it, up to the end of the text, should be the same.
    Those before it are the same anyway, because the text encoder is causal. The paper's attention-map term is left
    out, so neither images nor the U-Net are needed.
    """

    weight: float = 1.5e-4
    """Factor of the distance, 1e-4 to 1e-2; the default is the paper's, for Stable Diffusion 2.1."""
    num_prompts: int = 1
    """How many prompts of the list are drawn for each step; 1 to 8."""
    templates_file: str | None = None
    """A file of prompts, one a line, each with `{}` and more text after it; None is the built-in list."""

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if self.num_prompts < 1:
            raise UserError(f"regularizer.num_prompts={self.num_prompts}: must be 1 or more.")

    def check(self, concept: Concept, embedding: EmbeddingConfig, *, has_unet: bool = True) -> None:
        """Checks that there is an initializer token, an ordinary embedding, a prompt for it, and a causal text encoder.

        Raises:
            UserError: there is not.
        """
        if not has_unet:
            raise UserError(
                "regularizer=context: is for the causal text encoders of Stable Diffusion 1, 2 and XL. Set another "
                "regularizer."
            )
        if not (concept.initializer_token or embedding.init == "clip"):
            raise UserError(
                "regularizer=context: compares with concept.initializer_token, which is null. Set it to one word "
                "that names the concept."
            )
        if concept.kind == "style" and self.templates_file is None:
            raise UserError(
                "regularizer=context: the built-in prompts describe objects, but concept.kind is style. Set "
                "regularizer.templates_file to a file of prompts such as 'in the style of {}, a house by the sea'."
            )
        if embedding.has_parts:
            raise UserError(
                "regularizer=context: does not support vectors per timestep or per layer. Set embedding=token, or "
                "another regularizer."
            )
        self._prompts()

    def __call__(self, token: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor:
        """Returns the weighted mean distance [] of prompts that depend on the seed and the step."""
        prompts = self._prompts()
        draws = torch.randint(len(prompts), (self.num_prompts,), generator=generator(seed, "context", step))
        drawn = [prompts[i] for i in draws.tolist()]
        initializer = token.concept.initializer_token or ""
        vectors = token.embedding.vectors()
        learned_BLD = model.encode_text([prompt.format(token.placeholder_token) for prompt in drawn], vectors).hidden
        with torch.no_grad():
            target_BLD = model.encode_text([prompt.format(initializer) for prompt in drawn], {}).hidden
        tokenizer = next(iter(model.tokenizers.values()))

        def count(text: str) -> int:
            return len(tokenizer(text, add_special_tokens=False).input_ids)

        num_learned, num_initializer = len(next(iter(token.embedding.parameters()))), count(initializer)
        distances = []
        for i, prompt in enumerate(drawn):
            before, after = prompt.split("{}")
            start, length = 1 + count(before), count(after) + 1  # with the tokens at the start and the end of the text
            learned_LD = learned_BLD[i, start + num_learned :][:length]
            target_LD = target_BLD[i, start + num_initializer :][: len(learned_LD)]
            cosine_L = cosine_similarity(learned_LD[: len(target_LD)].float(), target_LD.float(), dim=1)
            distances.append(1 - cosine_L.mean())
        return self.weight * torch.stack(distances).mean()

    def _prompts(self) -> tuple[str, ...]:
        path = CONTEXT_TEMPLATES if self.templates_file is None else resolve_path(self.templates_file)
        prompts = _read_prompts(path)
        if not prompts:
            raise UserError(f"regularizer.templates_file={path}: no prompt has text after {{}}. Add some.")
        return prompts


def _check_weight(weight: float) -> None:
    if weight <= 0:
        raise UserError(f"regularizer.weight={weight}: must be above 0. To turn it off, set regularizer=none.")


@lru_cache(maxsize=8)
def _read_prompts(path: Path) -> tuple[str, ...]:
    """Returns the prompts with text after `{}`."""
    prompts = read_templates(path, setting="regularizer.templates_file")
    return tuple(prompt for prompt in prompts if prompt.partition("{}")[2].strip())
