"""The frozen models: families, loading, text encoding with learned tokens, sampling."""

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.models.loading import ModelDescription, describe, fetch, load, load_tokenizers
from tinv.models.stable_diffusion import STABLE_DIFFUSION
from tinv.models.stable_diffusion_xl import STABLE_DIFFUSION_XL

__all__ = [
    "STABLE_DIFFUSION",
    "STABLE_DIFFUSION_XL",
    "Family",
    "LatentDiffusion",
    "ModelDescription",
    "describe",
    "fetch",
    "load",
    "load_tokenizers",
]
