"""The files of kohya's trainers and ai-toolkit: one tensor [K, D] called `emb_params`; `emp_params` in OneTrainer's."""

from pathlib import Path

from tinv.formats.content import Content
from tinv.formats.format import ONE_CLIP, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import build_metadata, read_provenance
from tinv.formats.output_space import encoder_names, input_vectors
from tinv.formats.placeholder import resolve_token
from tinv.formats.safetensors_container import save_safetensors
from tinv.formats.tensors import split_by_encoder

NAME = "emb_params"
_NAMES = ("emb_params", "emp_params")


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embedding of a file with a tensor of kohya's name. Most such files do not name their token."""
    names = encoder_names(content.names)
    if len(names) != 1 or not names.issubset(_NAMES):
        return None
    (vectors_KD,) = input_vectors(content, dict.fromkeys(_NAMES, NAME)).values()
    vectors, provenance = split_by_encoder(vectors_KD), read_provenance(content.metadata)
    return [LearnedEmbedding(resolve_token(content), vectors, provenance, has_guessed_encoders=True)]


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    (vectors_KD,) = embedding.vectors.values()
    return [save_safetensors(path, {NAME: vectors_KD}, build_metadata(embedding, with_token=True))]


FORMAT = Format(name=NAME, file_name="{slug}.safetensors", encoder_sets=ONE_CLIP, save=_save)
