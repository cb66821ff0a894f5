"""What is frozen: Stable Diffusion behind one small protocol, and the lens that lays learned words over it."""

from tinv.models.base import LatentDiffusion
from tinv.models.loading import fetch, load, load_tokenizers
from tinv.models.stable_diffusion import StableDiffusion
from tinv.models.stable_diffusion_xl import StableDiffusionXL

__all__ = ["LatentDiffusion", "StableDiffusion", "StableDiffusionXL", "fetch", "load", "load_tokenizers"]
