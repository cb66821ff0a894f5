"""Tiny random pipelines without their denoisers, of the real classes: the text encoders of today's models.

The tokenizers read single characters or bytes; their vocabularies are smaller than the tables, as published ones are.
"""

import string
from collections.abc import Callable
from copy import deepcopy
from inspect import signature
from typing import Any

import diffusers
import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.models.published_transformers import t5_tokenizer
from tests.tiny import tiny_text_config, tiny_tokenizer

CHARACTERS = [character for character in string.printable if not character.isspace()]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 16}
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{{ c['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def gemma_tokenizer() -> Any:
    vocabulary = {
        token: id for id, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *CHARACTERS])
    }
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return transformers.GemmaTokenizer(vocab=vocabulary, merges=[], padding_side="right", **special)


def qwen_tokenizer() -> Any:
    tokens = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    tokenizer = transformers.Qwen2Tokenizer(vocab={t: id for id, t in enumerate(tokens)}, merges=[], **special)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


def llama_tokenizer() -> Any:
    tokens = ["<unk>", "<s>", "</s>", "▁", *(f"<0x{byte:02X}>" for byte in range(256)), *CHARACTERS]
    return transformers.LlamaTokenizer(vocab={t: id for id, t in enumerate(tokens)}, merges=[], pad_token="</s>")


def clip(kind: Any = transformers.CLIPTextModel) -> Any:
    return kind(tiny_text_config(tiny_tokenizer(), eos_token_id=tiny_tokenizer().eos_token_id))


def t5(kind: Any = transformers.T5EncoderModel, config: Any = transformers.T5Config) -> Any:
    sizes = {"d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3}
    return kind(config(vocab_size=len(t5_tokenizer()) + 9, **sizes))


def umt5() -> Any:
    return t5(transformers.UMT5EncoderModel, transformers.UMT5Config)


def gemma() -> Any:
    return transformers.Gemma2Model(transformers.Gemma2Config(vocab_size=300, hidden_size=16, head_dim=8, **SIZES))


def qwen3(kind: Any = transformers.Qwen3Model, num_layers: int = 3) -> Any:
    """Qwen3ForCausalLM shares its table with the output layer."""
    sizes = SIZES | {"num_hidden_layers": num_layers}
    return kind(transformers.Qwen3Config(vocab_size=300, hidden_size=16, head_dim=8, tie_word_embeddings=True, **sizes))


def qwen2_5_vl() -> Any:
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}
    text = {**SIZES, "hidden_size": 16, "vocab_size": 300, "rope_scaling": rope, "rope_theta": 1e6}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, hidden_size=16, vocab_size=300)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def llama() -> Any:
    return transformers.LlamaModel(
        transformers.LlamaConfig(vocab_size=600, hidden_size=16, **SIZES | {"num_hidden_layers": 4})
    )


def _projected() -> Any:
    return clip(transformers.CLIPTextModelWithProjection)


_CAUSAL = transformers.Qwen3ForCausalLM
PIPELINES: dict[str, tuple[str, list[tuple[str, Callable[[], Any], Callable[[], Any]]]]] = {
    "Flux.1": ("FluxPipeline", [("clip_l", tiny_tokenizer, clip), ("t5", t5_tokenizer, t5)]),
    "SD 3.5": (
        "StableDiffusion3Pipeline",
        [("clip_l", tiny_tokenizer, _projected), ("clip_g", tiny_tokenizer, _projected), ("t5", t5_tokenizer, t5)],
    ),
    "Chroma": ("ChromaPipeline", [("t5", t5_tokenizer, t5)]),
    "PixArt-Sigma": ("PixArtSigmaPipeline", [("t5", t5_tokenizer, t5)]),
    "AuraFlow": ("AuraFlowPipeline", [("umt5", t5_tokenizer, umt5)]),
    "Sana": ("SanaPipeline", [("gemma", gemma_tokenizer, gemma)]),
    "Lumina2": ("Lumina2Pipeline", [("gemma", gemma_tokenizer, gemma)]),
    "Z-Image": ("ZImagePipeline", [("qwen3", qwen_tokenizer, qwen3)]),
    "Flux.2 klein": ("Flux2KleinPipeline", [("qwen3", qwen_tokenizer, lambda: qwen3(_CAUSAL, 28))]),
    "Qwen-Image": ("QwenImagePipeline", [("qwen2_5_vl", qwen_tokenizer, qwen2_5_vl)]),
    "Wan": ("WanPipeline", [("umt5", t5_tokenizer, umt5)]),
    "HunyuanVideo": ("HunyuanVideoPipeline", [("llama", llama_tokenizer, llama), ("clip_l", tiny_tokenizer, clip)]),
}
"""The class of each model's pipeline; the role, tokenizer and class of `text_encoder`, `text_encoder_2` ..."""


def build(name: str) -> Any:
    """Returns a pipeline that can encode prompts."""
    class_name, encoders = PIPELINES[name]
    cls: Any = getattr(diffusers, class_name)
    components: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for number, (_, tokenizer, encoder) in enumerate(encoders, start=1):
            suffix = f"_{number}" if number > 1 else ""
            components |= {f"tokenizer{suffix}": deepcopy(tokenizer()), f"text_encoder{suffix}": encoder().eval()}
    arguments = [each for each in signature(cls).parameters.values() if each.default is each.empty]
    components = dict.fromkeys(each.name for each in arguments) | components
    return cls(**components | {"scheduler": FlowMatchEulerDiscreteScheduler()})
