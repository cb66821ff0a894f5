"""Tiny random pipelines of the families without a U-Net, with the real classes; an entry of `TRANSFORMERS` for each."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from inspect import signature
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.models.published import padded
from tests.models.tiny_qwen import QWEN_WIDTH, flux2_klein, qwen_image, z_image
from tests.tiny import RESOLUTION, WIDTH, WORDS, tiny_text_config, tiny_tokenizer, tiny_vae
from tinv.models.chroma import CHROMA
from tinv.models.family import Family
from tinv.models.flux1 import FLUX1
from tinv.models.flux2_klein import FLUX2_KLEIN
from tinv.models.lumina2 import LUMINA2, SYSTEM_PROMPT
from tinv.models.pixart_sigma import PIXART_SIGMA
from tinv.models.qwen_image import QWEN_IMAGE
from tinv.models.sana import SANA
from tinv.models.stable_diffusion_3 import STABLE_DIFFUSION_3
from tinv.models.z_image import Z_IMAGE

T5_WIDTH = 24
GEMMA_WIDTH = 20
BIGG_WIDTH, SD3_WIDTH = 48, 96  # of CLIP bigG, and of the T5 of Stable Diffusion 3, to which both CLIP are padded


@dataclass(frozen=True)
class Published:
    """A family as it is published."""

    family: Family
    build: Callable[[], DiffusionPipeline]
    widths: dict[str, int]
    """The width of each text encoder, by role."""
    prediction_type: str = "flow"
    call_options: dict[str, Any] = field(default_factory=dict)
    """What the plain pipeline must be called with, so that it draws a tiny image of a prompt with `<cat-toy>`."""


def t5_tokenizer() -> T5Tokenizer:
    """T5's own tokenizer class, with WORDS as its only whole words."""
    pieces = ["▁", *(f"▁{word}" for word in WORDS), *map(chr, range(33, 127))]
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -float(len(WORDS))) for piece in pieces)]
    return T5Tokenizer(vocab=list(dict.fromkeys(scores)), extra_ids=0)


def t5_encoder(width: int = T5_WIDTH) -> T5EncoderModel:
    """A T5 of two layers, whose table has unused rows, as the published one has."""
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3}
    return T5EncoderModel(T5Config(vocab_size=len(t5_tokenizer()) + 9, **sizes))


def flux1(*, is_distilled: bool, eos: int = tiny_tokenizer().eos_token_id) -> DiffusionPipeline:
    """Flux.1 dev, which takes the guidance scale as an input, or schnell.

    `eos` is the `eos_token_id` of CLIP's configuration; 2 in the published one, which is wrong.
    """
    dynamic = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        transformer = FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            axes_dims_rope=(2, 2, 4),
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=is_distilled,
        )
        return FluxPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=CLIPTextModel(tiny_text_config(tiny_tokenizer(), eos_token_id=eos)),
            tokenizer_2=t5_tokenizer(),
            text_encoder_2=t5_encoder(),
            transformer=loud(transformer),
            vae=tiny_vae(scaling_factor=0.3611, shift_factor=0.1159),
            scheduler=dynamic if is_distilled else FlowMatchEulerDiscreteScheduler(shift=1.0),
        )


def chroma() -> DiffusionPipeline:
    """Chroma1-HD, which has a static shift."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        transformer = ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=T5_WIDTH,
            axes_dims_rope=(2, 2, 4),
            approximator_num_channels=16,
            approximator_hidden_dim=16,
            approximator_layers=1,
        )
        transformer.proj_out.weight.data.mul_(5)
        transformer.distilled_guidance_layer.out_proj.weight.data.mul_(4)
        return ChromaPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=t5_encoder(),
            transformer=transformer,
            vae=tiny_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )


def stable_diffusion_3(
    *, dual_attention_layers: tuple[int, ...], eos: int = tiny_tokenizer().eos_token_id
) -> DiffusionPipeline:
    """Stable Diffusion 3.5 medium, with more attention in the first layers, or large.

    `eos` is the `eos_token_id` of the configurations of both CLIP; 2 in the published ones, which is wrong.
    """
    tokenizer, bigg = tiny_tokenizer(), {"num_hidden_layers": 3, "projection_dim": BIGG_WIDTH, "hidden_act": "gelu"}
    clip_l = tiny_text_config(tokenizer, projection_dim=WIDTH, eos_token_id=eos)
    clip_g = tiny_text_config(tokenizer, BIGG_WIDTH, eos_token_id=eos, **bigg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        transformer = SD3Transformer2DModel(
            sample_size=RESOLUTION // 2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=SD3_WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=WIDTH + BIGG_WIDTH,
            pos_embed_max_size=RESOLUTION,
            dual_attention_layers=dual_attention_layers,
            qk_norm="rms_norm",
        )
        return StableDiffusion3Pipeline(
            tokenizer=tokenizer,
            text_encoder=CLIPTextModelWithProjection(clip_l),
            tokenizer_2=padded(tokenizer, "!"),
            text_encoder_2=CLIPTextModelWithProjection(clip_g),
            tokenizer_3=t5_tokenizer(),
            text_encoder_3=t5_encoder(SD3_WIDTH),
            transformer=loud(transformer),
            vae=tiny_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )


def pixart_sigma() -> DiffusionPipeline:
    """PixArt-Sigma, whose transformer has output channels for the variance."""
    noise = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        transformer = PixArtTransformer2DModel(
            sample_size=RESOLUTION // 2,
            out_channels=8,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            cross_attention_dim=16,
            caption_channels=T5_WIDTH,
            norm_num_groups=4,
            use_additional_conditions=False,
        )
        return PixArtSigmaPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=t5_encoder(),
            transformer=loud(transformer),
            vae=tiny_vae(scaling_factor=0.13025),
            scheduler=DPMSolverMultistepScheduler(**noise),
        )


def gemma_tokenizer() -> GemmaTokenizer:
    """Gemma's own tokenizer class; WORDS and those of the pipelines' instructions are its only whole words."""
    instruction = signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    words = {*WORDS, *re.findall(r"[^\s]+", " ".join([SYSTEM_PROMPT, "<Prompt Start>", *instruction]))}
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(words, key=len, reverse=True):
        merges |= {(f"▁{word[:end]}", word[end]): None for end in range(len(word))}
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", "\n", *map(chr, range(33, 127)), *map("".join, merges)]
    ids = {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}
    return GemmaTokenizer(vocab=ids, merges=[*merges], add_bos_token=True)


def gemma_encoder() -> Gemma2Model:
    """A Gemma 2 of two layers, which multiplies its vectors by the root of their width."""
    sizes = {"hidden_size": GEMMA_WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Gemma2Model(Gemma2Config(vocab_size=len(gemma_tokenizer()), **sizes, **heads))


def sana() -> DiffusionPipeline:
    """Sana with a DC-AE that halves the sides of an image; its scheduler solves a flow."""
    blocks: dict[str, Any] = {"block_out_channels": (8, 16), "layers_per_block": (1, 1), "qkv_multiscales": ((), ())}
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in blocks.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        transformer = SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=GEMMA_WIDTH,
            sample_size=RESOLUTION // 2,
        )
        return SanaPipeline(
            tokenizer=gemma_tokenizer(),
            text_encoder=gemma_encoder(),
            transformer=loud(transformer),
            vae=AutoencoderDC(latent_channels=4, attention_head_dim=8, scaling_factor=0.41407, **sides),
            scheduler=DPMSolverMultistepScheduler(
                use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction", beta_schedule="linear"
            ),
        )


def lumina2() -> DiffusionPipeline:
    """Lumina Image 2.0, with the factor of 8 that its pipeline expects of the VAE."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        transformer = Lumina2Transformer2DModel(
            sample_size=RESOLUTION // 8,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=8,
            axes_dim_rope=(4, 4, 4),
            cap_feat_dim=GEMMA_WIDTH,
        )
        transformer.norm_out.linear_2.weight.data.mul_(3)
        transformer.layers[0].norm1.linear.weight.data.mul_(30)  # the gate of attention, by which the text counts
        return Lumina2Pipeline(
            tokenizer=gemma_tokenizer(),
            text_encoder=gemma_encoder(),
            transformer=transformer,
            vae=tiny_vae(num_blocks=4, scaling_factor=0.3611, shift_factor=0.1159),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        )


def loud(transformer: Any) -> Any:
    """The transformer with a large, wrong output that follows the text, so that a learned token can correct it."""
    transformer.proj_out.weight.data.mul_(5)
    if hasattr(transformer.norm_out, "linear"):
        transformer.norm_out.linear.weight.data.mul_(4)
    else:
        transformer.caption_projection.linear_2.weight.data.mul_(8)
    return transformer


UNCHANGED_PROMPTS_AND_SIZES = {"clean_caption": False, "use_resolution_binning": False}
SD3_WIDTHS = {"clip_l": WIDTH, "clip_g": BIGG_WIDTH, "t5": SD3_WIDTH}
TRANSFORMERS = {
    "flux1_dev": Published(FLUX1, partial(flux1, is_distilled=True), {"clip_l": WIDTH, "t5": T5_WIDTH}),
    "flux1_schnell": Published(FLUX1, partial(flux1, is_distilled=False), {"clip_l": WIDTH, "t5": T5_WIDTH}),
    "chroma": Published(CHROMA, chroma, {"t5": T5_WIDTH}),
    "sd35_medium": Published(STABLE_DIFFUSION_3, partial(stable_diffusion_3, dual_attention_layers=(0,)), SD3_WIDTHS),
    "sd35_large": Published(STABLE_DIFFUSION_3, partial(stable_diffusion_3, dual_attention_layers=()), SD3_WIDTHS),
    "pixart_sigma": Published(PIXART_SIGMA, pixart_sigma, {"t5": T5_WIDTH}, "epsilon", UNCHANGED_PROMPTS_AND_SIZES),
    "flux2_klein_base_4b": Published(
        FLUX2_KLEIN,
        partial(flux2_klein, is_distilled=False),
        {"qwen3": QWEN_WIDTH},
    ),
    "flux2_klein_4b": Published(
        FLUX2_KLEIN,
        partial(flux2_klein, is_distilled=True),
        {"qwen3": QWEN_WIDTH},
    ),
    "sana_1600m": Published(SANA, sana, {"gemma": GEMMA_WIDTH}, call_options=UNCHANGED_PROMPTS_AND_SIZES),
    "lumina2": Published(LUMINA2, lumina2, {"gemma": GEMMA_WIDTH}),
    "z_image": Published(Z_IMAGE, z_image, {"qwen3": QWEN_WIDTH}),
    "qwen_image": Published(QWEN_IMAGE, qwen_image, {"qwen2_5_vl": QWEN_WIDTH}),
}


@lru_cache
def published_transformer(name: str) -> DiffusionPipeline:
    """The pipeline of a family; do not change it."""
    pipeline = TRANSFORMERS[name].build()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline


def random_rows(name: str, count: int = 2) -> dict[str, Tensor]:
    """Vectors [K, D] for each text encoder of a family, by role."""
    generator = torch.Generator().manual_seed(9)
    return {role: torch.randn(count, width, generator=generator) for role, width in TRANSFORMERS[name].widths.items()}


def with_rows(name: str, rows: dict[str, Tensor]) -> Any:
    """A copy of a pipeline with the vectors of `<cat-toy>` in its tables, put in by hand as diffusers' loader does."""
    pipeline, family = copy.deepcopy(published_transformer(name)), TRANSFORMERS[name].family
    for (role, _), encoder_name, tokenizer_name in zip(
        TRANSFORMERS[name].widths.items(), family.text_encoders, family.tokenizers, strict=True
    ):
        if role in rows:
            tokenizer, encoder = getattr(pipeline, tokenizer_name), getattr(pipeline, encoder_name)
            tokens = ["<cat-toy>", *(f"<cat-toy>_{k}" for k in range(1, len(rows[role])))]
            tokenizer.add_tokens(tokens)
            encoder.resize_token_embeddings(max(len(tokenizer), len(encoder.get_input_embeddings().weight)))
            ids = tokenizer.convert_tokens_to_ids(tokens)
            encoder.get_input_embeddings().weight.data[ids] = rows[role]
    return pipeline


def prompt_with_rows(name: str, prompt: str, count: int) -> str:
    """The prompt with all tokens of `<cat-toy>`, for pipelines that do not expand it themselves."""
    if hasattr(published_transformer(name), "maybe_convert_prompt"):
        return prompt
    return prompt.replace("<cat-toy>", " ".join(["<cat-toy>", *(f"<cat-toy>_{k}" for k in range(1, count))]))
