"""What is learned: the rows of a concept, and where they start."""

from tinv.embeddings.config import EmbeddingConfig
from tinv.embeddings.learned_token import LearnedToken, guidance_scale_for
from tinv.embeddings.parameters import TokenParameters

__all__ = ["EmbeddingConfig", "LearnedToken", "TokenParameters", "guidance_scale_for"]
