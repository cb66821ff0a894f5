"""A pipeline folder of a published shape with random weights: for measurements of speed and memory."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bench.published import Configs
from tinv.runs.files import resolve_path
from tinv.silence import quiet

with quiet():  # their import advises to install torchvision
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

TOKENIZER = "pkg://tinv/toybox/pipeline/tokenizer/tokenizer.json"


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
        scheduler = DDPMScheduler.from_config(configs["scheduler"])
        _pipeline(parts, scheduler, tokenizer(configs["text_encoder"]["vocab_size"])).save_pretrained(folder)


def tokenizer(size: int) -> CLIPTokenizer:
    """The toybox's tokenizer with unused words up to `size`: diffusers' script truncates its table to it."""
    model = json.loads(resolve_path(TOKENIZER).read_text(encoding="utf-8"))["model"]
    words = {**model["vocab"], **{f"{n}unsaid</w>": n for n in range(len(model["vocab"]), size)}}
    return CLIPTokenizer(vocab=words, merges=[tuple(pair) for pair in model["merges"]], model_max_length=77)


def _pipeline(parts: dict[str, Any], scheduler: DDPMScheduler, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
    if "text_encoder_2" in parts:
        return StableDiffusionXLPipeline(tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=scheduler, **parts)
    nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(tokenizer=tokenizer, scheduler=scheduler, **parts, **nothing)
