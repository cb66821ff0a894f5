"""A pipeline folder of a published shape with random weights: as heavy as the real one, and of no other use."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bench.published import Configs
from tinv.files import locate
from tinv.models.quiet import quiet

TOKENIZER = "pkg://tinv/toybox/pipeline/tokenizer"
"""Its vocabulary is smaller than CLIP's, which costs nothing: prompts have 77 tokens in any case."""


def modules(configs: Configs) -> dict[str, torch.nn.Module]:
    """The parts that hold weights, on torch's current default device."""
    parts: dict[str, torch.nn.Module] = {
        "unet": UNet2DConditionModel.from_config(configs["unet"]),
        "vae": AutoencoderKL.from_config(configs["vae"]),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
    }
    if "text_encoder_2" in configs:
        parts["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return parts


def write(configs: Configs, folder: Path, *, dtype: torch.dtype, device: str) -> None:
    """Draw the weights on a device and save the pipeline with its own writer."""
    with quiet():
        with torch.device(device):
            parts: dict[str, Any] = {name: part.to(dtype) for name, part in modules(configs).items()}
        _pipeline(parts, DDPMScheduler.from_config(configs["scheduler"])).save_pretrained(folder)


def _pipeline(parts: dict[str, Any], scheduler: DDPMScheduler) -> DiffusionPipeline:
    tokenizer = CLIPTokenizer.from_pretrained(locate(TOKENIZER))
    if "text_encoder_2" in parts:
        return StableDiffusionXLPipeline(tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=scheduler, **parts)
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(tokenizer=tokenizer, scheduler=scheduler, **parts, **nothing)
