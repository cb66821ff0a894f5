"""What is learned: the rows of a concept, and where they start."""

from tinv.embeddings.config import TokenEmbedding
from tinv.embeddings.learned_token import Word, guidance_of
from tinv.embeddings.parameters import Rows

__all__ = ["Rows", "TokenEmbedding", "Word", "guidance_of"]
