"""The published way: the loss of the pictures, and nothing else."""

from tinv.concept import Concept
from tinv.embedding import EmbeddingConfig, LearnedToken
from tinv.models import LatentDiffusion


class Nothing:
    """Adds nothing."""

    def check(self, concept: Concept, embedding: EmbeddingConfig) -> None:
        """Goes with everything."""

    def __call__(self, word: LearnedToken, model: LatentDiffusion, *, seed: int, step: int) -> None:
        """None."""


NOTHING = Nothing()
