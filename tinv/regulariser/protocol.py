"""What a regulariser is."""

from typing import Protocol

from torch import Tensor

from tinv.concept import Concept
from tinv.embedding import EmbeddingConfig, LearnedToken
from tinv.models import LatentDiffusion


class Regulariser(Protocol):
    """Something to be minimised beside the loss: of one word, once an optimizer step, whatever the batch."""

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Say what stands in the way, before anything loads.

        Raises:
            UserError: this word cannot be regularised like this.
        """

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> Tensor | None:
        """What is added to the loss, weighted already; gradients reach the rows."""
