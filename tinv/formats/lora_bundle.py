"""Words inside a LoRA file: OneTrainer's `bundle_emb.<word>.<key>`, or ai-toolkit's tensors among the LoRA's."""

from collections.abc import Mapping

from torch import Tensor

from tinv.formats import emb_params, sdxl
from tinv.formats.content import Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.not_embeddings import is_lora
from tinv.formats.placeholder import usable
from tinv.formats.tensors import by_encoder, rows_of

NAME = "bundled in a LoRA"
_BUNDLE = "bundle_emb."
_ONE_ENCODER = "string_to_param.*"
_LOOSE = {"emb_params", "clip_l", "clip_g"}


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The words that a LoRA brings along; the LoRA itself is left where it is."""
    bundled = [name.removeprefix(_BUNDLE) for name in content.names if name.startswith(_BUNDLE)]
    words = dict.fromkeys(name.partition(".")[0] for name in bundled)
    if words:
        return [found for word in words for found in _read_word(content, word)]
    loose = _LOOSE.intersection(content.names)
    if loose and is_lora(content.names):
        return _read_part(content, {name: content.root[name] for name in loose})
    return None


def _read_word(content: Content, word: str) -> list[LearnedEmbedding]:
    start = f"{_BUNDLE}{word}."
    part = {name.removeprefix(start): content.root[name] for name in content.names if name.startswith(start)}
    if _ONE_ENCODER in part:
        rows_KD = rows_of(content.path, word, part[_ONE_ENCODER])
        return [LearnedEmbedding(usable(content.path, word), by_encoder(rows_KD))]
    return [LearnedEmbedding(usable(content.path, word), found.vectors) for found in _read_part(content, part)]


def _read_part(content: Content, part: Mapping[str, Tensor]) -> list[LearnedEmbedding]:
    alone = Content(content.path, content.container, part)
    return emb_params.read(alone) or sdxl.read(alone) or []
