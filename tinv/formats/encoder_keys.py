"""Files with a tensor for each text encoder, `clip_l`, `clip_g` ..., as kohya, OneTrainer and ComfyUI name them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from tinv.formats.content import Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import build_metadata, read_provenance
from tinv.formats.output_space import encoder_names, input_vectors
from tinv.formats.placeholder import resolve_token
from tinv.formats.safetensors_container import save_safetensors
from tinv.formats.text_encoders import ROLES

NAME = "a tensor for each text encoder"
COMFYUI = {
    "clip_l": {768: "clip_l"},
    "clip_g": {1280: "clip_g"},
    "clip_h": {1024: "clip_h"},
    "t5": {4096: "t5xxl"},
    "umt5": {4096: "umt5xxl"},
    "gemma": {2304: "gemma2_2b"},
    "qwen3": {2560: "qwen3_4b", 4096: "qwen3_8b", 1024: "qwen3_06b", 2048: "qwen3_2b"},
    "qwen3_vl": {2560: "qwen3vl_4b", 4096: "qwen3vl_8b"},
    "qwen2_5_vl": {3584: "qwen25_7b"},
    "mistral3": {5120: "mistral3_24b"},
    "llama": {4096: "llama"},
}
"""ComfyUI's name of each text encoder, by width."""
_ENCODERS = {role: role for role in ROLES}
_ENCODERS |= {name: role for role, names in COMFYUI.items() for name in names.values()}


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embedding whose tensors are named by text encoder. Most such files do not name their token."""
    if not content.names or not encoder_names(content.names).issubset(_ENCODERS):
        return None
    vectors = input_vectors(content, _ENCODERS)
    return [LearnedEmbedding(resolve_token(content), vectors, read_provenance(content.metadata))]


def saver(name_tensors: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> Callable[..., list[Path]]:
    """Returns the function that saves an embedding, given one that renames its vectors from roles to tensor names."""

    def save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
        metadata = build_metadata(embedding, with_token=True)
        return [save_safetensors(path, name_tensors(embedding.vectors), metadata)]

    return save
