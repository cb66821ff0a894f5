"""diffusers' own layout: one tensor [K, D] under the placeholder.

SDXL has a second file beside the first, `learned_embeds_2.safetensors`, with the vectors of its second text encoder.
"""

import re
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import Content, listed
from tinv.formats.format import ONE_CLIP, SDXL, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import provenance_of, texts_of
from tinv.formats.placeholder import usable, word_of
from tinv.formats.tensors import by_encoder, rows_of
from tinv.runs.files import atomic

NAME = "diffusers"
_SECOND = re.compile(r"(.+)_2(-steps-\d+)?")
_STEPS = re.compile(r"(.+?)(-steps-\d+)?")


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The words of a file of nothing but tensors [K, D] or [D] of one width: mostly one."""
    names = content.names
    if not names or len(names) < len(content.root):
        return None
    rows = {name: rows_of(content.path, name, content.root[name]) for name in names}
    if len({rows_KD.shape[1] for rows_KD in rows.values()}) > 1:
        raise UserError(
            f"{content.path} holds {len(names)} tensors of different widths ({listed(names)}), not vectors of one text "
            f"encoder; it is no embedding file that tinv knows"
        )
    provenance = provenance_of(content.metadata)
    words = {name: word_of(content) if name in ("", "*") else usable(content.path, name) for name in names}
    return [LearnedEmbedding(words[name], by_encoder(rows_KD), provenance) for name, rows_KD in rows.items()]


def second_of(path: Path) -> Path:
    """The file of SDXL's second encoder beside a first: `learned_embeds_2.safetensors`."""
    stem = _STEPS.fullmatch(path.stem)
    assert stem
    return path.with_name(f"{stem[1]}_2{stem[2] or ''}{path.suffix}")


def first_of(path: Path) -> Path | None:
    """The file of SDXL's first encoder beside a second, or None if a file is not called like one."""
    stem = _SECOND.fullmatch(path.stem)
    return path.with_name(f"{stem[1]}{stem[2] or ''}{path.suffix}") if stem else None


def pairs(path: Path, learned: LearnedEmbedding) -> list[tuple[Path, Tensor]]:
    """The files of an embedding and what each holds: one, or SDXL's two."""
    if frozenset(learned.vectors) == SDXL:
        return [(path, learned.vectors["clip_l"]), (second_of(path), learned.vectors["clip_g"])]
    return [(path, rows_KD) for rows_KD in learned.vectors.values()]


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    files = pairs(path, learned)
    for place, rows_KD in files:
        with atomic(place) as draft:
            draft.write_bytes(save({learned.placeholder_token: rows_KD}, texts_of(learned, names_word=False)))
    return [place for place, _ in files]


FORMAT = Format(name=NAME, file_name="learned_embeds.safetensors", holds=(*ONE_CLIP, SDXL), save=_save)
