"""Tiny random models of each published layout, with the real classes, configurations and save functions."""

import copy
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tiny import NO_SAFETY_CHECKER, NOISE, RESOLUTION, tiny_text_config, tiny_tokenizer, tiny_unet, tiny_vae

VAE_SCALE = 0.18215
SECOND_VERSION: dict[str, Any] = {"use_linear_projection": True, "attention_head_dim": (2, 4)}
GEOMETRY = torch.tensor(
    [[48, 40, 0, 4, RESOLUTION, RESOLUTION], [RESOLUTION, RESOLUTION, 0, 0, RESOLUTION, RESOLUTION]]
)


def stable_diffusion(
    seed: int, tokenizer: CLIPTokenizer, scheduler: Any, width: int, activation: str, **unet: Any
) -> DiffusionPipeline:
    """Stable Diffusion 1 or 2 with weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StableDiffusionPipeline(
            tokenizer=tokenizer,
            text_encoder=CLIPTextModel(tiny_text_config(tokenizer, width, hidden_act=activation)),
            vae=tiny_vae(scaling_factor=VAE_SCALE),
            unet=tiny_unet(width, **unet),
            scheduler=scheduler,
            **NO_SAFETY_CHECKER,
        )


def sd1(tokenizer: CLIPTokenizer | None = None) -> DiffusionPipeline:
    """Stable Diffusion 1: CLIP ViT-L with quick_gelu, epsilon; its configuration has `eos_token_id: 2`."""
    scheduler = PNDMScheduler(skip_prk_steps=True, **NOISE)
    return stable_diffusion(1, tokenizer or tiny_tokenizer(), scheduler, 32, "quick_gelu")


def sd2() -> DiffusionPipeline:
    """Stable Diffusion 2.1: OpenCLIP ViT-H, width 1024, gelu, without its last layer; padding `!`; v-prediction."""
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, **NOISE)
    return stable_diffusion(2, padded(tiny_tokenizer(), "!"), scheduler, 1024, "gelu", **SECOND_VERSION)


def sdxl(tokenizer: CLIPTokenizer | None = None, *, eos: int = 2) -> DiffusionPipeline:
    """SDXL base: CLIP ViT-L and OpenCLIP bigG with its projection, sizes and crop as conditioning.

    Args:
        tokenizer: of the first encoder; the second's pads with `!`.
        eos: the `eos_token_id` of the configurations; 2 in the published ones, which is wrong.
    """
    tokenizer = tokenizer or tiny_tokenizer()
    bigg = {"num_hidden_layers": 3, "projection_dim": 48, "hidden_act": "gelu", "eos_token_id": eos}
    sizes = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 48,
        "transformer_layers_per_block": (1, 2),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return StableDiffusionXLPipeline(
            tokenizer=tokenizer,
            tokenizer_2=padded(tokenizer, "!"),
            text_encoder=CLIPTextModel(tiny_text_config(tokenizer, eos_token_id=eos)),
            text_encoder_2=CLIPTextModelWithProjection(tiny_text_config(tokenizer, 48, **bigg)),
            unet=tiny_unet(32 + 48, **SECOND_VERSION, **sizes),
            vae=tiny_vae(scaling_factor=0.13025, force_upcast=True),
            scheduler=EulerDiscreteScheduler(timestep_spacing="leading", **NOISE),
            add_watermarker=False,
        )


WIDTHS = {"sd1": {"clip_l": 32}, "sd2": {"clip_h": 1024}, "sdxl": {"clip_l": 32, "clip_g": 48}}
"""The width of each text encoder."""
LAYOUTS = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl}


def save(pipeline: DiffusionPipeline, folder: Path, **options: Any) -> Path:
    """Save a pipeline with its own function, and the tokenizers in the four files of the published repositories."""
    pipeline.save_pretrained(folder, **options)
    for name, part in pipeline.components.items():
        if isinstance(part, CLIPTokenizer):
            save_tokenizer(part, folder / name)
    return folder


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """vocab.json, merges.txt and the two files of special tokens, as transformers wrote them in 2022."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    for file in folder.iterdir() if folder.is_dir() else ():
        file.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials | {"pad_token": tokenizer.pad_token}))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **specials}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<|endoftext|>"}))


def padded(tokenizer: CLIPTokenizer, pad: str) -> CLIPTokenizer:
    """The same tokenizer with another padding token."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(vocab=state["vocab"], merges=merges, model_max_length=77, pad_token=pad)


@lru_cache
def published(name: str) -> DiffusionPipeline:
    """A pipeline of this layout; do not change it."""
    return LAYOUTS[name]()


def outputs(model: Any) -> list[torch.Tensor]:
    """Text features, the denoiser's output, moments and a decoded image.

    They are computed with a copy of the model: the alignment of memory-mapped weights can change the last bits.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, RESOLUTION // 2, RESOLUTION // 2, generator=generator)
    pixels = torch.rand(1, 3, RESOLUTION, RESOLUTION, generator=generator) * 2 - 1
    with torch.no_grad():
        text = model.encode_text(["a photo of a red cat", ""], {})
        denoised = model.predict(x, torch.tensor([10, 900]), text, GEOMETRY)
    results = [text.hidden, denoised, model.encode_images(pixels), model.decode_latents(x)]
    return results + ([] if text.pooled is None else [text.pooled])


def with_vectors(pipeline: Any, vectors: dict[str, torch.Tensor]) -> Any:
    """A copy of a pipeline with the vectors of `<cat-toy>` in each encoder, through diffusers' own loader."""
    pipeline = copy.deepcopy(pipeline)
    for vectors_KD, suffix in zip(vectors.values(), ("", "_2"), strict=False):
        parts = {name: getattr(pipeline, name + suffix) for name in ("tokenizer", "text_encoder")}
        pipeline.load_textual_inversion(vectors_KD, token="<cat-toy>", **parts)
    return pipeline


def random_vectors(name: str, count: int = 2) -> dict[str, torch.Tensor]:
    """Vectors [K, D] for each text encoder of a layout."""
    generator = torch.Generator().manual_seed(9)
    return {role: torch.randn(count, width, generator=generator) for role, width in WIDTHS[name].items()}


def is_close(image: Any, other: Any) -> bool:
    """Whether the pixels of two images differ by at most 1."""
    return np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).max() <= 1


def is_identical(model: Any, other: Any) -> bool:
    """Whether the outputs of two models are bit-identical."""
    return all(torch.equal(a, b) for a, b in zip(outputs(model), outputs(other), strict=True))
