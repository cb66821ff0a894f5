"""The older `.bin` files of diffusers' scripts and the sd-concepts-library: one tensor under the placeholder token.

The layout has no room for metadata.
"""

from pathlib import Path

from tinv.formats.diffusers import split_files
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.torch_container import save_torch


def _save(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    files = split_files(path, embedding)
    return [save_torch(file, {embedding.placeholder_token: vectors_KD}) for file, vectors_KD in files.items()]


FORMAT = Format(name="diffusers_bin", file_name="learned_embeds.bin", encoder_sets=(*ONE_CLIP, SDXL), save=_save)
