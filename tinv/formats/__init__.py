"""Embedding files: what a learned word is outside of tinv."""

from tinv.formats.learned_embedding import LearnedEmbedding, encoder_of_width
from tinv.formats.reading import read, read_all, recognise, recognise_all
from tinv.formats.writing import FORMATS, NAMES, PIPELINE, write

__all__ = [
    "FORMATS",
    "NAMES",
    "PIPELINE",
    "LearnedEmbedding",
    "encoder_of_width",
    "read",
    "read_all",
    "recognise",
    "recognise_all",
    "write",
]
