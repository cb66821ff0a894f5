"""The layout with one tensor for each text encoder: `clip_l` and `clip_g` for SDXL, and more for later models."""

from pathlib import Path

from safetensors.torch import save

from tinv.formats.content import Content
from tinv.formats.format import Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import provenance_of, texts_of
from tinv.formats.output_space import input_rows, without_out
from tinv.formats.placeholder import word_of
from tinv.runs.files import atomic

NAME = "sdxl"
_ENCODERS = {name: name for name in ("clip_l", "clip_g", "clip_h", "t5", "gemma", "llama")}
_ALIASES = {"t5xxl": "t5", "gemma2_2b": "gemma"}
"""ComfyUI's names, which are the ones written, for ComfyUI is what reads these encoders' vectors."""


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The word whose tensors are called by text encoders; which word it is, the file mostly does not say."""
    encoders = _ENCODERS | _ALIASES
    if not content.names or not without_out(content.names).issubset(encoders):
        return None
    return [LearnedEmbedding(word_of(content), input_rows(content, encoders), provenance_of(content.metadata))]


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    theirs = {ours: name for name, ours in _ALIASES.items()}
    tensors = {theirs.get(encoder, encoder): rows_KD for encoder, rows_KD in learned.vectors.items()}
    with atomic(path) as draft:
        draft.write_bytes(save(tensors, texts_of(learned, names_word=True)))
    return [path]


FORMAT = Format(name=NAME, file_name="{slug}.safetensors", holds=None, save=_save)
