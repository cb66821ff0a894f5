"""A frozen text encoder that reads captions in which learned words stand.

B batch, L tokens, K rows, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tinv.models.prompts import Prompts
from tinv.models.token_lookup import TokenLookup
from tinv.types import Vectors, to_device


class TextEncoder:
    """A text encoder, its tokenizer, and the lens over its vocabulary.

    No Module: the model that the encoder belongs to holds its weights.
    """

    def __init__(self, name: str, *, tokenizer: Any, encoder: PreTrainedModel):
        """Lay the lens.

        Args:
            name: under which the learned rows of this encoder are found, e.g. `clip_l`.
            tokenizer: is only read.
            encoder: its token embedding is replaced by a lens with the same weight.
        """
        self.name, self.tokenizer, self.encoder = name, tokenizer, encoder
        self.token_lookup = TokenLookup(encoder.get_input_embeddings())
        encoder.set_input_embeddings(self.token_lookup)
        self.prompts = Prompts(tokenizer, num_embeddings=self.token_lookup.num_embeddings)

    @property
    def table(self) -> Tensor:
        """The frozen vocabulary [V, D]."""
        return self.token_lookup.weight.detach()

    def read(self, captions: Sequence[str], vectors: Vectors, **options: Any) -> tuple[Any, Tensor]:
        """The encoder's own output, through which gradients reach the rows, and the token ids [B, L]."""
        rows = {placeholder: by_encoder[self.name] for placeholder, by_encoder in vectors.items()}
        device = self.token_lookup.weight.device
        ids_BL = to_device(self.prompts.ids(captions, {word: len(rows_KD) for word, rows_KD in rows.items()}), device)
        with self.token_lookup.over(torch.cat(list(rows.values())).to(device) if rows else None):
            return self.encoder(ids_BL, **options), ids_BL
