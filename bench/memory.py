"""GiB of the frozen weights of each model, by component: `python -m bench.memory` prints the table of docs/memory.md.

Arithmetic, not measured: the parameters of the real classes with the published configurations, built without weights.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from tinv.models.quantization import Quantization

CLIP_L = ("CLIPTextModel", {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12})
CLIP_G = (
    "CLIPTextModelWithProjection",
    {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
    },
)
T5 = (
    "T5EncoderModel",
    {
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
)
QWEN3 = (
    "Qwen3Model",
    {
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
)
GEMMA2 = ("Gemma2Model", {})
QWEN25_VL = (
    "Qwen2_5_VLForConditionalGeneration",
    {
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
)
KLEIN = {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680}
SD35 = {"in_channels": 16, "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "qk_norm": "rms_norm"}
MEDIUM = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 384}
LARGE = {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pos_embed_max_size": 192}
PIXART = {"sample_size": 128, "out_channels": 8, "cross_attention_dim": 1152, "caption_channels": 4096}
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
    "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MODELS: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "sd15": {"unet": ("UNet2DConditionModel", {"cross_attention_dim": 768}), "text_encoder": CLIP_L},
    "sdxl": {"unet": ("UNet2DConditionModel", SDXL), "text_encoder": CLIP_L, "text_encoder_2": CLIP_G},
    "pixart_sigma": {"transformer": ("PixArtTransformer2DModel", PIXART), "text_encoder": T5},
    "sd35_medium": {
        "transformer": ("SD3Transformer2DModel", {**SD35, **MEDIUM, "dual_attention_layers": tuple(range(13))}),
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
        "text_encoder_3": T5,
    },
    "sd35_large": {
        "transformer": ("SD3Transformer2DModel", {**SD35, **LARGE}),
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
        "text_encoder_3": T5,
    },
    "sana_1600m": {"transformer": ("SanaTransformer2DModel", {}), "text_encoder": GEMMA2},
    "lumina2": {"transformer": ("Lumina2Transformer2DModel", {"cap_feat_dim": 2304}), "text_encoder": GEMMA2},
    "flux2_klein_4b": {"transformer": ("Flux2Transformer2DModel", KLEIN), "text_encoder": QWEN3},
    "z_image": {"transformer": ("ZImageTransformer2DModel", {}), "text_encoder": QWEN3},
    "chroma": {"transformer": ("ChromaTransformer2DModel", {}), "text_encoder": T5},
    "flux1_dev": {
        "transformer": ("FluxTransformer2DModel", {"guidance_embeds": True}),
        "text_encoder": CLIP_L,
        "text_encoder_2": T5,
    },
    "qwen_image": {"transformer": ("QwenImageTransformer2DModel", {}), "text_encoder": QWEN25_VL},
}
"""The classes of the components and what their configurations have beside the classes' defaults."""
KINDS: tuple[Quantization | None, ...] = (None, "int8", "nf4")


def component_bytes(module: nn.Module, quantization: Quantization | None) -> int:
    """The bytes of a component's weights, in bfloat16 or quantized; the module may be on the meta device."""
    unquantized = {
        "lm_head",
        *((getattr(module, "_keep_in_fp32_modules", None) or ()) if quantization == "nf4" else ()),
    }
    linear = {
        part.weight
        for name, part in module.named_modules()
        if quantization and isinstance(part, nn.Linear) and name.rpartition(".")[2] not in unquantized
    }
    return sum(
        _quantized_bytes(weight, quantization) if quantization and weight in linear else 2 * weight.numel()
        for weight in module.parameters()
    )


def _quantized_bytes(weight: torch.Tensor, quantization: Quantization) -> int:
    """Values and scales: float32 for each row, with a zero point for int8; for each 64 values of nf4."""
    rows = weight.shape[0]
    overhead = {"int8": 5 * rows, "fp8": 4 * rows, "nf4": 4 * -(-weight.numel() // 64)}
    return weight.numel() // (2 if quantization == "nf4" else 1) + overhead[quantization]


def build(class_name: str, settings: Mapping[str, Any]) -> nn.Module:
    """A component without weights."""
    with torch.device("meta"):
        if cls := getattr(transformers, class_name, None):
            module: nn.Module = cls(cls.config_class(**settings))
        else:
            module = getattr(diffusers, class_name)(**settings)
    return module


def lines() -> Iterator[str]:
    """The lines of the table."""
    yield "| `model=` | GiB in bfloat16, by component | sum | `int8` | `nf4` |"
    yield "|---|---|---|---|---|"
    for name, components in MODELS.items():
        sums, parts = dict.fromkeys(KINDS, 0), []
        for component, (class_name, settings) in components.items():
            module = build(class_name, settings)
            sizes = {kind: component_bytes(module, None if "CLIP" in class_name else kind) for kind in KINDS}
            parts.append(f"`{component}` {sizes[None] / 2**30:.1f}")
            sums = {kind: sums[kind] + size for kind, size in sizes.items()}
        yield f"| `{name}` | {', '.join(parts)} | {' | '.join(f'{size / 2**30:.1f}' for size in sums.values())} |"


if __name__ == "__main__":
    print("\n".join(lines()))
