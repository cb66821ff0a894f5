"""What is learned: the rows of a concept, and where they start."""

from tinv.embedding.rows import Rows
from tinv.embedding.token import TokenEmbedding
from tinv.embedding.word import Word, guidance_of

__all__ = ["Rows", "TokenEmbedding", "Word", "guidance_of"]
