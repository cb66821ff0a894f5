"""diffusers' older layout, that of the sd-concepts-library: a torch file of one tensor under the placeholder.

It has no room for anything else, not even for where the word comes from.
"""

from pathlib import Path

from tinv.formats.diffusers import pairs
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.torch_container import save_torch
from tinv.runs.files import atomic


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    files = pairs(path, learned)
    for place, rows_KD in files:
        with atomic(place) as draft:
            save_torch(draft, {learned.placeholder_token: rows_KD})
    return [place for place, _ in files]


FORMAT = Format(name="diffusers_bin", file_name="learned_embeds.bin", holds=(*ONE_CLIP, SDXL), save=_save)
