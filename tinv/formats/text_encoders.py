"""The text encoders of models: their roles, which are our names of vectors, and their widths."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_BY_WIDTH = {1024: "clip_h", 1280: "clip_g", 2304: "gemma", 2560: "qwen3", 3584: "qwen2_5_vl", 4096: "t5"}
_BY_WIDTH |= {5120: "mistral3"}


@dataclass(frozen=True)
class ModelEncoders:
    """The text encoders that read the words of a prompt for a model, and the programs that take embeddings for it."""

    title: str
    widths: Mapping[str, int]
    """By role, in the order of `text_encoder`, `text_encoder_2` ... in diffusers' pipeline."""
    in_diffusers: bool = False
    """Whether the pipeline has `load_textual_inversion`."""
    in_comfyui: tuple[str, ...] = ()
    """The roles whose tokenizers get ComfyUI's folder of embeddings. The others read `embedding:cat-toy` as words."""
    in_onetrainer: bool = False
    """Whether OneTrainer trains and loads embeddings."""


_L, _H, _G, _T5 = {"clip_l": 768}, {"clip_h": 1024}, {"clip_g": 1280}, {"t5": 4096}
MODELS = (
    ModelEncoders("SD 1", _L, in_diffusers=True, in_comfyui=("clip_l",), in_onetrainer=True),
    ModelEncoders("SD 2", _H, in_diffusers=True, in_comfyui=("clip_h",), in_onetrainer=True),
    ModelEncoders("SDXL", _L | _G, in_diffusers=True, in_comfyui=("clip_l", "clip_g"), in_onetrainer=True),
    ModelEncoders("SD 3.5", _L | _G | _T5, in_comfyui=("clip_l", "clip_g"), in_onetrainer=True),
    ModelEncoders("Flux.1", _L | _T5, in_diffusers=True, in_comfyui=("clip_l", "t5"), in_onetrainer=True),
    ModelEncoders("Chroma", _T5, in_diffusers=True, in_comfyui=("t5",), in_onetrainer=True),
    ModelEncoders("PixArt-Sigma", _T5, in_comfyui=("t5",), in_onetrainer=True),
    ModelEncoders("Sana", {"gemma": 2304}, in_onetrainer=True),
    ModelEncoders("Lumina2", {"gemma": 2304}),
    ModelEncoders("Flux.2 dev", {"mistral3": 5120}, in_comfyui=("mistral3",)),
    ModelEncoders("Flux.2 klein 4B", {"qwen3": 2560}, in_comfyui=("qwen3",)),
    ModelEncoders("Flux.2 klein 9B", {"qwen3": 4096}, in_comfyui=("qwen3",)),
    ModelEncoders("Z-Image", {"qwen3": 2560}),
    ModelEncoders("Qwen-Image", {"qwen2_5_vl": 3584}),
    ModelEncoders("Wan", {"umt5": 4096}),
    ModelEncoders("HunyuanVideo", {"llama": 4096} | _L, in_comfyui=("llama", "clip_l"), in_onetrainer=True),
    ModelEncoders(
        "HiDream", _L | _G | _T5 | {"llama": 4096}, in_comfyui=("clip_l", "clip_g", "llama"), in_onetrainer=True
    ),
)
ROLES = (*dict.fromkeys(role for model in MODELS for role in model.widths), "qwen3_vl")


def encoder_of_width(width: int) -> str:
    """Returns the likeliest text encoder of vectors of a width, for files that do not name it; else `clip_l`.

    768 is CLIP ViT-L (Stable Diffusion 1, SDXL's first). Models of other widths, such as the toybox, have one encoder.
    """
    return _BY_WIDTH.get(width, "clip_l")


def find_models(widths: Mapping[str, int], *, has_guessed_encoders: bool = False) -> list[ModelEncoders]:
    """Returns the models that have encoders of these roles and widths, first those that have no others.

    Args:
        widths: of the vectors, by role.
        has_guessed_encoders: whether the roles were guessed by width, so that any encoders of these widths fit.
    """
    if has_guessed_encoders:
        models = [model for model in MODELS if Counter(widths.values()) <= Counter(model.widths.values())]
    else:
        models = [model for model in MODELS if widths.items() <= model.widths.items()]
    return sorted(models, key=lambda model: len(model.widths) > len(widths))


def in_pipeline_order(roles: Mapping[str, object]) -> list[str]:
    """Returns the roles in the order of `text_encoder`, `text_encoder_2` ... in the pipelines that have them all."""
    models = [model for model in MODELS if roles.keys() <= model.widths.keys()]
    order = [*min(models, key=lambda model: len(model.widths)).widths] if models else [*ROLES]
    return sorted(roles, key=order.index)


def rename_guessed(widths: Mapping[str, int], expected: Mapping[str, int]) -> dict[str, str] | None:
    """Returns the model's role for each guessed role, or None if the widths do not determine it.

    Args:
        widths: of the vectors of a file, by guessed role.
        expected: of the model's encoders, by role.
    """
    renamed: dict[str, str] = {}
    for role, width in widths.items():
        candidates = [name for name, expected_width in expected.items() if expected_width == width]
        if expected.get(role) == width:
            candidates = [role]
        if len(candidates) != 1 or candidates[0] in renamed.values():
            return None
        renamed[role] = candidates[0]
    return renamed
