"""A token in training: its vectors, the constraint on their norms, and their average.

K vectors, V words, D width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tinv.concept import Concept
from tinv.embeddings.averaging import TailAverage
from tinv.embeddings.checks import INITS_FROM_TOKEN
from tinv.embeddings.config import EmbeddingConfig
from tinv.token_parts import mentions
from tinv.types import Conditioning, Vectors


class LearnedToken(nn.Module):
    """One concept of a run; its training does not depend on the run's other concepts."""

    def __init__(
        self,
        concept: Concept,
        config: EmbeddingConfig,
        *,
        tokenizers: Mapping[str, Any],
        tables: Mapping[str, Tensor],
        seed: int,
        encode_text: Callable[..., Conditioning] | None = None,
        layers: Sequence[str] = (),
        name: str = "",
        lr: float | None = None,
    ):
        """Initializes the vectors.

        Args:
            concept: to learn.
            config: how many vectors, how they start and what constrains them.
            tokenizers: of the frozen model, by text encoder.
            tables: the frozen vocabulary [V, D] of each text encoder.
            seed: of the run.
            encode_text: of the frozen model, for `init=cross`.
            layers: the cross-attention layers of its U-Net, for `per_layer`.
            name: of the concept in the run; empty if it is the only one.
            lr: its own learning rate; None is the optimizer's.

        Raises:
            UserError: the initializer does not fit the number of vectors, or the file does not fit the model.
        """
        super().__init__()
        self.concept, self.config, self.name, self.lr = concept, config, name, lr
        self.initializer_token = concept.initializer_token if config.init in INITS_FROM_TOKEN else None
        self.embedding = config.init_parameters(
            concept, tokenizers=tokenizers, tables=tables, seed=seed, encode_text=encode_text, layers=layers
        )
        self.init_vectors = {encoder: vectors.detach().clone() for encoder, vectors in self.embedding.weights.items()}
        self.norm_constraint, self.average = config.build_norm_constraint(tables), config.build_average(self.embedding)
        self.guidance_scale = config.guidance_scale if config.num_negative_vectors else None

    @property
    def placeholder_token(self) -> str:
        """The new token in prompts."""
        return self.concept.placeholder_token

    @property
    def suffix(self) -> str:
        """Suffix of the names of its metrics: `/cat-toy`, or empty if it is the only concept."""
        return f"/{self.name}" if self.name else ""

    @property
    def prefix(self) -> str:
        """Prefix of the names of its tensors in a checkpoint."""
        return f"{self.name}." if self.name else ""

    def eval_vectors(self) -> Vectors:
        """Returns the vectors for validation, samples and files: the average if there is one."""
        return (self.embedding if self.average is None else self.average.embedding).vectors()

    def set_max_steps(self, max_steps: int) -> None:
        """Sets the length of the run, which an average over the last steps depends on."""
        if isinstance(self.average, TailAverage):
            self.average.set_max_steps(max_steps)

    def after_step(self) -> None:
        """Constrains the norms and updates the average; called after each optimizer step."""
        if self.norm_constraint:
            self.norm_constraint(self.embedding)
        if self.average is not None:
            self.average.update(self.embedding)
            if self.norm_constraint and self.norm_constraint.is_exact:
                self.norm_constraint(self.average.embedding)


def guidance_scale_for(tokens: Iterable[LearnedToken], captions: Sequence[str]) -> float | None:
    """Returns the guidance scale of the first token with a negative that captions mention; None if there is none."""
    with_negative = (token for token in tokens if token.guidance_scale is not None)
    return next((token.guidance_scale for token in with_negative if mentions(token.placeholder_token, captions)), None)
