"""Textual inversion: learn a new word for a frozen Stable Diffusion from a handful of pictures."""

__version__ = "0.1.0"
