"""The older `.bin` files of diffusers' scripts and the sd-concepts-library: one tensor under the placeholder token.

The layout has no room for metadata.
"""

from pathlib import Path

from tinv.formats.diffusers import split_files
from tinv.formats.format import Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.torch_container import save_torch


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    token, vectors = embedding.placeholder_token, embedding.vectors
    return [save_torch(file, {token: vectors[role]}) for file, role in split_files(path, embedding).items()]


FORMAT = Format(name="diffusers_bin", file_name="learned_embeds.bin", encoder_sets=None, save=_save)
