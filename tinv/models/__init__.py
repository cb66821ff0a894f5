"""What is frozen: Stable Diffusion behind one small protocol, and the lens that lays learned words over it."""

from tinv.models.stable_diffusion import StableDiffusion, load_tokenizer

__all__ = ["StableDiffusion", "load_tokenizer"]
