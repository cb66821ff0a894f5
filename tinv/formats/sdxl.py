"""The files of kohya's SDXL trainer, OneTrainer and ComfyUI: a tensor per text encoder, `clip_l`, `clip_g` ..."""

from pathlib import Path

from tinv.formats.content import Content
from tinv.formats.format import Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import build_metadata, read_provenance
from tinv.formats.output_space import encoder_names, input_vectors
from tinv.formats.placeholder import resolve_token
from tinv.formats.safetensors_container import save_safetensors

NAME = "sdxl"
_ENCODERS = {name: name for name in ("clip_l", "clip_g", "clip_h", "t5", "gemma", "llama", "qwen3", "qwen2_5_vl")}
_ALIASES = {"t5xxl": "t5", "gemma2_2b": "gemma"}
"""ComfyUI's names. These are written, because ComfyUI is the program that reads the vectors of these encoders."""


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embedding whose tensors are named by text encoder. Most such files do not name their token."""
    encoders = _ENCODERS | _ALIASES
    if not content.names or not encoder_names(content.names).issubset(encoders):
        return None
    vectors = input_vectors(content, encoders)
    return [LearnedEmbedding(resolve_token(content), vectors, read_provenance(content.metadata))]


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    aliases = {encoder: name for name, encoder in _ALIASES.items()}
    tensors = {aliases.get(encoder, encoder): vectors_KD for encoder, vectors_KD in embedding.vectors.items()}
    return [save_safetensors(path, tensors, build_metadata(embedding, with_token=True))]


FORMAT = Format(name=NAME, file_name="{slug}.safetensors", encoder_sets=None, save=_save)
