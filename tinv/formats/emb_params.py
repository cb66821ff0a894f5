"""kohya's layout: one tensor [K, D] called `emb_params`; OneTrainer spells it `emp_params`."""

from pathlib import Path

from safetensors.torch import save

from tinv.formats.content import Content
from tinv.formats.format import ONE_CLIP, Format
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import provenance_of, texts_of
from tinv.formats.output_space import input_rows, without_out
from tinv.formats.placeholder import word_of
from tinv.formats.tensors import by_encoder
from tinv.runs.files import atomic

NAME = "emb_params"
_NAMES = ("emb_params", "emp_params")


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The word whose vectors have kohya's name; which word it is, the file mostly does not say."""
    names = without_out(content.names)
    if len(names) != 1 or not names.issubset(_NAMES):
        return None
    (rows_KD,) = input_rows(content, dict.fromkeys(_NAMES, NAME)).values()
    return [LearnedEmbedding(word_of(content), by_encoder(rows_KD), provenance_of(content.metadata))]


def _save(path: Path, learned: LearnedEmbedding) -> list[Path]:
    (rows_KD,) = learned.vectors.values()
    with atomic(path) as draft:
        draft.write_bytes(save({NAME: rows_KD}, texts_of(learned, names_word=True)))
    return [path]


FORMAT = Format(name=NAME, file_name="{slug}.safetensors", holds=ONE_CLIP, save=_save)
