"""Embedding files: what a learned word is outside of tinv."""

from tinv.formats.diffusers import write
from tinv.formats.learned import LearnedEmbedding, encoder_of_width
from tinv.formats.reading import read

__all__ = ["LearnedEmbedding", "encoder_of_width", "read", "write"]
