"""Tiny random models of each published layout, with the real classes, configurations and save functions."""

import copy
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tiny import tiny_tokenizer

SIDE = 32
"""The image size of these models in pixels."""
NO_SAFETY_CHECKER: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def sd1(tokenizer: CLIPTokenizer | None = None) -> DiffusionPipeline:
    """Stable Diffusion 1: CLIP ViT-L with quick_gelu, epsilon; its configuration has `eos_token_id: 2`."""
    tokenizer = tokenizer or tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        text = _text(tokenizer, width=32, activation="quick_gelu", eos=2)
        return StableDiffusionPipeline(
            tokenizer=tokenizer,
            text_encoder=CLIPTextModel(text),
            vae=_vae(0.18215),
            unet=_unet(32),
            scheduler=PNDMScheduler(skip_prk_steps=True, **NOISE),
            **NO_SAFETY_CHECKER,
        )


def sd2() -> DiffusionPipeline:
    """Stable Diffusion 2.1: OpenCLIP ViT-H, width 1024, gelu, without its last layer; padding `!`; v-prediction."""
    tokenizer = padded(tiny_tokenizer(), "!")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        text = _text(tokenizer, width=1024, activation="gelu", eos=2)
        return StableDiffusionPipeline(
            tokenizer=tokenizer,
            text_encoder=CLIPTextModel(text),
            vae=_vae(0.18215),
            unet=_unet(1024, use_linear_projection=True, attention_head_dim=(2, 4)),
            scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, **NOISE),
            **NO_SAFETY_CHECKER,
        )


def sdxl(tokenizer: CLIPTokenizer | None = None, *, eos: int = 2) -> DiffusionPipeline:
    """SDXL base: CLIP ViT-L and OpenCLIP bigG with its projection, sizes and crop as conditioning.

    Args:
        tokenizer: of the first encoder; the second's pads with `!`.
        eos: the `eos_token_id` of the configurations; 2 in the published ones, which is wrong.
    """
    tokenizer = tokenizer or tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = CLIPTextModel(_text(tokenizer, width=32, activation="quick_gelu", eos=eos))
        second = CLIPTextModelWithProjection(
            _text(tokenizer, width=48, activation="gelu", eos=eos, layers=3, projection_dim=48)
        )
        unet = _unet(
            32 + 48,
            use_linear_projection=True,
            attention_head_dim=(2, 4),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 48,
            transformer_layers_per_block=(1, 2),
        )
        return StableDiffusionXLPipeline(
            tokenizer=tokenizer,
            tokenizer_2=padded(tokenizer, "!"),
            text_encoder=first,
            text_encoder_2=second,
            vae=_vae(0.13025, force_upcast=True),
            unet=unet,
            scheduler=EulerDiscreteScheduler(timestep_spacing="leading", **NOISE),
            add_watermarker=False,
        )


LAYOUTS = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl}


def save(pipeline: DiffusionPipeline, folder: Path, **options: Any) -> Path:
    """Save a pipeline with its own function, and the tokenizers in the four files of the published repositories."""
    pipeline.save_pretrained(folder, **options)
    for name, part in pipeline.components.items():
        if isinstance(part, CLIPTokenizer):
            save_tokenizer(part, folder / name)
    return folder


def save_settings(pipeline: DiffusionPipeline, folder: Path) -> Path:
    """Save only the configurations and tokenizers, as `model.config` needs them."""
    save(pipeline, folder)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
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


def _text(
    tokenizer: CLIPTokenizer, *, width: int, activation: str, eos: int, layers: int = 2, **more: Any
) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=eos,
        pad_token_id=1,
        **more,
    )


def _vae(scaling_factor: float, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
        scaling_factor=scaling_factor,
        **more,
    )


def _unet(width: int, **more: Any) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": SIDE // 2,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": width,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**settings | more)


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
    x = torch.randn(2, 4, SIDE // 2, SIDE // 2, generator=generator)
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=generator) * 2 - 1
    geometry = torch.tensor([[48, 40, 0, 4, SIDE, SIDE], [SIDE, SIDE, 0, 0, SIDE, SIDE]])
    with torch.no_grad():
        text = model.encode_text(["a photo of a red cat", ""], {})
        denoised = model.predict(x, torch.tensor([10, 900]), text, geometry)
    results = [text.hidden, denoised, model.encode_images(pixels), model.decode_latents(x)]
    return results + ([] if text.pooled is None else [text.pooled])


def is_identical(model: Any, other: Any) -> bool:
    """Whether the outputs of two models are bit-identical."""
    return all(torch.equal(a, b) for a, b in zip(outputs(model), outputs(other), strict=True))
