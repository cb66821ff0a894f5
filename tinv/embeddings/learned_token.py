"""A word that is being learned: its rows, what is done to them after each step, and the average that is kept of them.

K rows, V words, D width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tinv.concept import Concept
from tinv.embeddings.averaging import TailAverage
from tinv.embeddings.config import FROM_WORDS, EmbeddingConfig
from tinv.token_parts import mentions
from tinv.types import Conditioning, Vectors


class LearnedToken(nn.Module):
    """One concept of a run. Words know nothing of each other: each learns what it would learn alone."""

    def __init__(
        self,
        concept: Concept,
        settings: EmbeddingConfig,
        *,
        tokenizers: Mapping[str, Any],
        tables: Mapping[str, Tensor],
        seed: int,
        encode_text: Callable[..., Conditioning] | None = None,
        layers: Sequence[str] = (),
        name: str = "",
        lr: float | None = None,
    ):
        """Put the rows at their start.

        Args:
            concept: what is learned.
            settings: how many rows, where they start, and what holds them.
            tokenizers: of the frozen model, by text encoder.
            tables: the frozen vocabulary [V, D] of each text encoder.
            seed: of the run.
            encode_text: the frozen model's, for rows that start at its output.
            layers: of its U-Net that look at the text, for rows of their own for each.
            name: of the concept among those of the run; empty where it is the only one.
            lr: a rate of its own; None is the optimizer's.

        Raises:
            UserError: the words cannot be learned, or not with so many vectors.
        """
        super().__init__()
        self.concept, self.name, self.lr = concept, name, lr
        self.initializer_token = concept.initializer_token if settings.init in FROM_WORDS else None
        self.embedding = settings.init_parameters(
            concept, tokenizers=tokenizers, tables=tables, seed=seed, encode_text=encode_text, layers=layers
        )
        self.init_vectors = {encoder: rows.detach().clone() for encoder, rows in self.embedding.weights.items()}
        self.norm_constraint, self.average = (
            settings.build_norm_constraint(tables),
            settings.build_average(self.embedding),
        )
        self.guidance = settings.guidance_scale if settings.num_negative_vectors else None
        self.averages = {"embedding.ema": settings.ema, "embedding.average_last": settings.average_last}

    @property
    def placeholder_token(self) -> str:
        """The new word itself."""
        return self.concept.placeholder_token

    @property
    def suffix(self) -> str:
        """What is put behind the names of its numbers and pictures: `/cat-toy`, or nothing if it is the only word."""
        return f"/{self.name}" if self.name else ""

    def eval_vectors(self) -> Vectors:
        """The rows as everybody else gets them: those that are trained, or their average where one is kept."""
        return (self.embedding if self.average is None else self.average.embedding).vectors()

    def set_max_steps(self, max_steps: int) -> None:
        """How long the run will be."""
        if isinstance(self.average, TailAverage):
            self.average.set_max_steps(max_steps)

    def after_step(self) -> None:
        """What the settings ask of the rows after each optimizer step."""
        if self.norm_constraint:
            self.norm_constraint(self.embedding)
        if self.average is not None:
            self.average.update(self.embedding)
            if self.norm_constraint and self.norm_constraint.is_exact:
                self.norm_constraint(self.average.embedding)


def guidance_scale_for(words: Iterable[LearnedToken], captions: Sequence[str]) -> float | None:
    """How far a word and its negative are pulled apart, of the first that captions say and that has one."""
    with_negative = (word for word in words if word.guidance is not None)
    return next((word.guidance for word in with_negative if mentions(word.placeholder_token, captions)), None)
