"""What is learned: the rows of a concept, and where they start."""

from tinv.embedding.rows import Rows
from tinv.embedding.token import TokenEmbedding

__all__ = ["Rows", "TokenEmbedding"]
