"""The token embeddings of a model's text encoders, loaded without the rest of its weights.

K vectors, V vocabulary size, D width.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from tinv.concept import strip_word_marker
from tinv.hub.locate import fetch
from tinv.hub.pipeline_files import select_pipeline_files
from tinv.hub.snapshot import Repo
from tinv.models.components import load_modules
from tinv.models.loading import tokenizers_of
from tinv.models.model_files import find_model
from tinv.silence import explained_errors


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one text encoder, and their vectors."""

    tokenizer: CLIPTokenizer
    table: Tensor
    """[V, D] float32."""

    def nearest(self, vectors_KD: Tensor, count: int) -> list[list[tuple[str, float]]]:
        """For each vector, the tokens of the highest cosine similarity, with that similarity."""
        cosines_KV = F.normalize(vectors_KD, dim=1) @ F.normalize(self.table[: len(self.tokenizer)], dim=1).T
        best = torch.topk(cosines_KV, count, dim=1)
        names = [self.tokenizer.convert_ids_to_tokens(ids) for ids in best.indices.tolist()]
        return [
            list(zip([strip_word_marker(token) for token in tokens], cosines, strict=True))
            for tokens, cosines in zip(names, best.values.tolist(), strict=True)
        ]


def load_vocabularies(pretrained: str) -> dict[str, Vocabulary]:
    """The vocabulary of each text encoder of a model, by role; `pretrained` is that of `load`.

    Raises:
        UserError: there is no such model, or it is incomplete.
    """
    files = find_model(pretrained, revision=None, config=None)
    tokenizers = tokenizers_of(files, None)
    names, weights = list(files.family.text_encoders), files.weights
    if isinstance(weights, Repo):
        weights = fetch(weights, partial(select_pipeline_files, variant=None, components=names), setting="--model")
    with explained_errors("--model", pretrained):
        modules = load_modules(
            weights, files.configs, files.family, names, dtype=torch.float32, name=pretrained, setting="--model"
        )
    return {
        role: Vocabulary(tokenizer, modules[name].get_input_embeddings().weight.detach())
        for (role, tokenizer), name in zip(tokenizers.items(), names, strict=True)
    }
