"""The vocabulary of a model's text encoders, read without the rest of its weights.

K rows, V words, D width.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from tinv.hub.locate import fetch
from tinv.hub.pipeline_files import pipeline_files
from tinv.hub.snapshot import Repo
from tinv.models.checkpoint import read_checkpoint
from tinv.models.components import load_modules
from tinv.models.single_file import convert_modules
from tinv.models.sources import find
from tinv.models.tokenizers import tokenizers_of
from tinv.silence import explained


@dataclass(frozen=True)
class Vocabulary:
    """The words of one text encoder, and their vectors."""

    tokenizer: CLIPTokenizer
    table: Tensor
    """[V, D] float32."""

    def nearest(self, rows_KD: Tensor, count: int) -> list[list[tuple[str, float]]]:
        """The words whose vectors point the most as each row does, with the cosine between them."""
        cosines_KV = F.normalize(rows_KD, dim=1) @ F.normalize(self.table[: len(self.tokenizer)], dim=1).T
        best = torch.topk(cosines_KV, count, dim=1)
        return [
            [(self._word(i), cosine) for i, cosine in zip(ids, values, strict=True)]
            for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _word(self, number: int) -> str:
        return self.tokenizer.convert_ids_to_tokens(number).removesuffix("</w>")


def load_vocabularies(pretrained: str) -> dict[str, Vocabulary]:
    """The vocabulary of each text encoder of a model, by the encoder's name.

    Args:
        pretrained: a pipeline folder, `pkg://package/folder`, an id of the Hub, or a single file.

    Raises:
        UserError: there is no such model, or it is not whole.
    """
    source = find(pretrained, revision=None, config=None)
    tokenizers = tokenizers_of(source, None)
    names, place = list(source.family.text_encoders), source.weights
    if isinstance(place, Repo):
        place = fetch(place, partial(pipeline_files, variant=None, parts=names), setting="--model")
    with explained("--model", pretrained):
        if place.is_dir():
            modules = load_modules(place, source.family, names, variant=None, dtype=torch.float32)
        else:
            weights = read_checkpoint(place, setting="--model")
            modules = convert_modules(
                weights, source.folder, source.family, names, dtype=torch.float32, place=pretrained
            )
    return {
        encoder: Vocabulary(tokenizer, modules[name].get_input_embeddings().weight.detach())
        for (encoder, tokenizer), name in zip(tokenizers.items(), names, strict=True)
    }
