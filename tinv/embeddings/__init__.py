"""What is learned: the vectors of a placeholder token, how they start and what constrains them."""

from tinv.embeddings.config import EmbeddingConfig
from tinv.embeddings.learned_token import LearnedToken, guidance_scale_for
from tinv.embeddings.parameters import TokenParameters

__all__ = ["EmbeddingConfig", "LearnedToken", "TokenParameters", "guidance_scale_for"]
