"""Tiny random pipelines whose text encoder is a Qwen, with the real classes."""

from functools import lru_cache

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import pre_tokenizers
from torch import nn
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from tests.tiny import RESOLUTION, WORDS, tiny_vae

QWEN_WIDTH = 16
QWEN_TEMPLATE_WORDS = (
    "system user assistant Describe image by detailing color shape size texture quantity text spatial relationships "
    "objects and background"
).split()
QWEN3_CHAT_TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\n' }}{{ message.content }}<|im_end|>{{ '\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant{{ '\n' }}
{%- if enable_thinking is defined and enable_thinking is false -%}
<think>{{ '\n\n' }}</think>{{ '\n\n' }}
{%- endif -%}
{%- endif -%}"""
"""That of Qwen3, for messages without tools."""


def merge(pieces: list[str], left: str, right: str) -> list[str]:
    """The pieces of a word after a merge of byte-pair encoding."""
    merged: list[str] = []
    for piece in pieces:
        if piece == right and merged and merged[-1] == left:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


@lru_cache
def qwen_tokenizer() -> Qwen2Tokenizer:
    """Qwen's own tokenizer class, with WORDS and those of the pipelines' templates as its only whole words.

    It reads 64 tokens, so that the 28 layers that Flux.2 needs are fast.
    """
    words, merges = [*WORDS, *QWEN_TEMPLATE_WORDS], [("Ċ", "Ċ")]
    for word in words:
        pieces = [*word]
        for pair in merges:
            pieces = merge(pieces, *pair)
        merges += [("".join(pieces[:end]), pieces[end]) for end in range(1, len(pieces))]
    merges += [("Ġ", word) for word in dict.fromkeys(words)]
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *dict.fromkeys(map("".join, merges))]
    tokens = {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    ids = {token: id for id, token in enumerate(vocabulary)}
    tokenizer = Qwen2Tokenizer(vocab=ids, merges=merges, model_max_length=64, **tokens)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = QWEN3_CHAT_TEMPLATE
    assert all(len(tokenizer.tokenize(f"{space}{word}")) == 1 for word in words for space in ("", " "))
    return tokenizer


def qwen3_config(num_hidden_layers: int) -> Qwen3Config:
    """The configuration of a Qwen3, whose table has unused rows, as the published one has."""
    sizes = {"hidden_size": QWEN_WIDTH, "intermediate_size": 16, "head_dim": 8}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "tie_word_embeddings": True}
    return Qwen3Config(vocab_size=len(qwen_tokenizer()) + 9, num_hidden_layers=num_hidden_layers, **sizes, **heads)


def loud_qwen(encoder: nn.Module) -> nn.Module:
    """The encoder with layers that count, so that a learned token changes the features of the tokens after it."""
    for name, weight in encoder.named_parameters():
        if "proj" in name:
            weight.data.mul_(8)
    return encoder


def flux2_klein(*, is_distilled: bool) -> DiffusionPipeline:
    """Flux.2 klein 4B, which draws without guidance, or its base model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformer = Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            axes_dims_rope=(2, 2, 2, 2),
            joint_attention_dim=3 * QWEN_WIDTH,
            timestep_guidance_channels=16,
            guidance_embeds=False,
        )
        transformer.proj_out.weight.data.mul_(6)
        gate_of_attention = transformer.double_stream_modulation_img.linear.weight.data[32:48]
        gate_of_attention.mul_(100)  # otherwise about 0, and the text counts for nothing
        transformer.transformer_blocks[0].attn.add_v_proj.weight.data.mul_(30)
        vae = AutoencoderKLFlux2(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=RESOLUTION,
        )
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2)
        return Flux2KleinPipeline(
            tokenizer=qwen_tokenizer(),
            text_encoder=loud_qwen(Qwen3ForCausalLM(qwen3_config(num_hidden_layers=28))),
            transformer=transformer,
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            is_distilled=is_distilled,
        )


def z_image() -> DiffusionPipeline:
    """Z-Image; the VAE is that of Flux.1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        transformer = ZImageTransformer2DModel(
            in_channels=4,
            dim=16,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=QWEN_WIDTH,
            axes_dims=[4, 2, 2],
            axes_lens=[128, 32, 32],
        )
        transformer.x_pad_token.data.normal_()
        transformer.cap_pad_token.data.normal_()
        transformer.all_final_layer["2-1"].linear.weight.data.mul_(10)
        transformer.layers[0].attention_norm2.weight.data.mul_(10)
        return ZImagePipeline(
            tokenizer=qwen_tokenizer(),
            text_encoder=loud_qwen(Qwen3Model(qwen3_config(num_hidden_layers=3))),
            transformer=transformer,
            vae=tiny_vae(scaling_factor=0.3611, shift_factor=0.1159),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )


def qwen2_5_vl() -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL of two layers for text, and one for images, which text does not pass."""
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    text = {"hidden_size": QWEN_WIDTH, "intermediate_size": 16, "vocab_size": len(qwen_tokenizer()) + 9, **heads}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": QWEN_WIDTH}
    config = Qwen2_5_VLConfig(text_config={**text, "rope_scaling": rope, "rope_theta": 1e6}, vision_config=vision)
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen_image() -> DiffusionPipeline:
    """Qwen-Image. Its VAE is one of videos and names no size; here it halves the sides of images of RESOLUTION."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        transformer = QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=QWEN_WIDTH,
            axes_dims_rope=(2, 2, 4),
        )
        transformer.proj_out.weight.data.mul_(9)
        transformer.norm_out.linear.weight.data.mul_(3)
        gate_of_attention = transformer.transformer_blocks[0].img_mod[1].weight.data[32:48]
        gate_of_attention.mul_(100)  # otherwise about 0, and the text counts for nothing
        transformer.transformer_blocks[0].attn.add_v_proj.weight.data.mul_(6)
        vae = AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[False],
            latents_mean=[-0.7571, -0.7089, -0.9113, 0.1075],
            latents_std=[2.8184, 1.4541, 2.3275, 2.6558],
        )
        vae.register_to_config(sample_size=RESOLUTION)
        return QwenImagePipeline(
            tokenizer=qwen_tokenizer(),
            text_encoder=loud_qwen(qwen2_5_vl()),
            transformer=transformer,
            vae=vae,
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, max_image_seq_len=8192, max_shift=0.9, shift_terminal=0.02
            ),
        )
