"""A frozen text encoder that reads captions with learned tokens.

Neither the tokenizer nor the token embedding is changed: learned tokens have the ids behind the vocabulary, and the
token embedding looks those ids up among the learned vectors.

B batch, L tokens, K learned vectors, V vocabulary size, D width.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinv.concept import whole_word_regex
from tinv.types import Vectors, to_device


class TokenLookup(nn.Module):
    """A token embedding of V frozen vectors, to which K learned vectors can be added for a while.

    Ids below a first one read the frozen table, the others the learned vectors, whose gradient is, to the last bit, the
    one that training the whole table would give them.

    Deliberately no subclass of `nn.Embedding`: diffusers' loader and `resize_token_embeddings` rebuild those from
    `weight` alone and would silently drop the learned vectors; over a plain module they raise.
    """

    def __init__(self, table: nn.Embedding):
        super().__init__()
        self.weight = table.weight
        self.num_embeddings = table.num_embeddings
        self.embedding_dim = table.embedding_dim
        self.embed_scale: Tensor | None = getattr(table, "embed_scale", None)
        """What Gemma multiplies its vectors by."""
        self._learned: tuple[Tensor, int] | None = None

    @property
    def learned(self) -> tuple[Tensor, int] | None:
        """The learned vectors [K, D] and the id of the first one, while there are any."""
        return self._learned

    @contextmanager
    def with_vectors(self, vectors_KD: Tensor | None, first_id: int | None = None) -> Iterator[None]:
        """While the block runs, the K ids from `first_id` on mean the given vectors; None is V."""
        before = self._learned
        self._learned = None if vectors_KD is None else (vectors_KD, first_id or self.num_embeddings)
        try:
            yield
        finally:
            self._learned = before

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [..., D] of ids [...], in the dtype of the frozen table."""
        if self._learned is None:
            vectors = F.embedding(ids, self.weight)
        else:
            vectors_KD, first_id = self._learned
            frozen = F.embedding(ids.clamp(max=first_id - 1), self.weight)
            learned = F.embedding((ids - first_id).clamp(min=0), vectors_KD).to(frozen.dtype)
            vectors = torch.where((ids >= first_id).unsqueeze(-1), learned, frozen)
        return vectors if self.embed_scale is None else vectors * self.embed_scale.to(vectors)


class PromptTokenizer:
    """Tokenizes captions that may contain placeholder tokens, for one text encoder.

    A caption is split at its placeholders; the text between them is tokenized as usual, and each placeholder becomes
    K ids. That is what an added token does, but `sks` does not match inside `asks`, nor `<zorg>` inside `<zorgon>`.
    """

    def __init__(self, tokenizer: Any, *, num_embeddings: int):
        """Reads a CLIP tokenizer; V is the first id of the learned tokens."""
        self.tokenizer = tokenizer
        self.num_embeddings = num_embeddings
        self.length: int = tokenizer.model_max_length
        self._ids_of_text: dict[str, list[int]] = {}
        self._has_warned = False

    def ids(self, captions: Sequence[str], num_vectors: Mapping[str, int]) -> Tensor:
        """Token ids [B, L] int64, with start, end and padding, truncated to the encoder's L tokens.

        `num_vectors` has K for each placeholder (lower case), in the order of their ids.
        """
        tokenizer, batch = self.tokenizer, []
        for caption in captions:
            ids = self.tokenize(caption, num_vectors)
            if len(ids) > self.length - 2 and not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"the caption {caption!r} has {len(ids)} tokens, but {self.length - 2} fit: it is truncated. "
                    f"Other captions are truncated without a warning.",
                    stacklevel=2,
                )
            ids = [tokenizer.bos_token_id, *ids[: self.length - 2], tokenizer.eos_token_id]
            batch.append(ids + [tokenizer.pad_token_id] * (self.length - len(ids)))
        return torch.tensor(batch, dtype=torch.long)

    def tokenize(self, caption: str, num_vectors: Mapping[str, int]) -> list[int]:
        """The ids of a caption of any length, without start, end or padding."""
        if not num_vectors:
            return self._tokenize_text(caption)
        starts = dict(zip(num_vectors, accumulate(num_vectors.values(), initial=self.num_embeddings), strict=False))
        ids: list[int] = []
        for text in placeholder_regex(tuple(num_vectors)).split(caption):
            placeholder = text.lower()
            if placeholder in starts:
                ids += range(starts[placeholder], starts[placeholder] + num_vectors[placeholder])
            else:
                ids += self._tokenize_text(text)
        return ids

    def _tokenize_text(self, text: str) -> list[int]:
        if text not in self._ids_of_text:
            self._ids_of_text[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self._ids_of_text[text]


class TextEncoder:
    """A text encoder, its tokenizer and its token lookup.

    No nn.Module: the model registers the encoder under diffusers' name.
    """

    def __init__(self, role: str, *, tokenizer: Any, encoder: PreTrainedModel):
        """Replaces the encoder's token embedding by a `TokenLookup`, which takes the vectors of `role`."""
        self.role, self.tokenizer, self.encoder = role, tokenizer, encoder
        self.token_lookup = TokenLookup(encoder.get_input_embeddings())
        encoder.set_input_embeddings(self.token_lookup)
        if hasattr(
            encoder.config.get_text_config(), "use_cache"
        ):  # a second forward, of checkpointing, would extend it
            encoder.config.get_text_config().use_cache = False
        self._prompts = PromptTokenizer(tokenizer, num_embeddings=self.token_lookup.num_embeddings)

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self.token_lookup.weight.device

    @property
    def table(self) -> Tensor:
        """The frozen token embeddings [V, D]."""
        return self.token_lookup.weight.detach()

    def encode(self, captions: Sequence[str], vectors: Vectors, **options: Any) -> tuple[Any, Tensor]:
        """The encoder's output, through which gradients reach the vectors, and the token ids [B, L].

        The options are those of the encoder's forward.
        """
        learned = self.select(vectors)
        num_vectors = {placeholder: len(vectors_KD) for placeholder, vectors_KD in learned.items()}
        ids_BL = to_device(self._prompts.ids(captions, num_vectors), self.device)
        with self.with_vectors(learned):
            return self.encoder(ids_BL, **options), ids_BL

    def select(self, vectors: Vectors) -> dict[str, Tensor]:
        """The vectors [K, D] that this encoder has of each learned token."""
        return {token: by_encoder[self.role] for token, by_encoder in vectors.items() if self.role in by_encoder}

    def with_vectors(self, learned: Mapping[str, Tensor], first_id: int | None = None) -> AbstractContextManager[None]:
        """A block in which the ids from `first_id` on mean the vectors of learned tokens; None is V."""
        vectors_KD = torch.cat(list(learned.values())).to(self.device) if learned else None
        return self.token_lookup.with_vectors(vectors_KD, first_id)


@lru_cache
def placeholder_regex(placeholders: tuple[str, ...]) -> re.Pattern[str]:
    """Matches whole placeholders, in a group so that `split` returns them; the longest match wins."""
    longest_first = sorted(placeholders, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(whole_word_regex, longest_first))})", re.IGNORECASE)
