"""From captions to token ids, with the learned words where the caption has them.

The tokenizer is never changed. A caption is cut at its placeholders, the pieces between are tokenized as they
are, and each placeholder becomes the ids of its K rows behind the vocabulary. That is what an added token does,
without its traps: `sks` does not fire inside `asks`, and `<zorg>` not inside `<zorgon>`.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from tinv.concept import whole_word_regex


class Prompts:
    """Tokenizes captions for one text encoder."""

    def __init__(self, tokenizer: Any, *, num_embeddings: int):
        """Args:
        tokenizer: a CLIP tokenizer; it is only read.
        num_embeddings: V, the length of the frozen table, where the learned ids begin.
        """
        self.tokenizer = tokenizer
        self.num_embeddings = num_embeddings
        self.length: int = tokenizer.model_max_length
        self._pieces: dict[str, list[int]] = {}
        self._has_warned = False

    def ids(self, captions: Sequence[str], num_rows: Mapping[str, int]) -> Tensor:
        """Token ids [B, L] int64, with start, end and padding, cut to the L tokens that the encoder holds.

        Args:
            captions: B texts.
            num_rows: K of each placeholder (lower case), in the order of their rows behind the vocabulary.
        """
        tokenizer = self.tokenizer
        rows = []
        for caption in captions:
            tokens = self.tokenize(caption, num_rows)
            if len(tokens) > self.length - 2 and not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"the caption {caption!r} has {len(tokens)} tokens, {self.length - 2} fit; the rest is cut off "
                    f"(this is said once)",
                    stacklevel=2,
                )
            tokens = [tokenizer.bos_token_id, *tokens[: self.length - 2], tokenizer.eos_token_id]
            rows.append(tokens + [tokenizer.pad_token_id] * (self.length - len(tokens)))
        return torch.tensor(rows, dtype=torch.long)

    def tokenize(self, caption: str, num_rows: Mapping[str, int]) -> list[int]:
        """The ids of a caption, without start, end or padding and however long."""
        if not num_rows:
            return self._tokenize_piece(caption)
        starts = dict(zip(num_rows, accumulate(num_rows.values(), initial=self.num_embeddings), strict=False))
        tokens: list[int] = []
        for piece in _splitter(tuple(num_rows)).split(caption):
            placeholder = piece.lower()
            if placeholder in starts:
                tokens += range(starts[placeholder], starts[placeholder] + num_rows[placeholder])
            else:
                tokens += self._tokenize_piece(piece)
        return tokens

    def _tokenize_piece(self, piece: str) -> list[int]:
        if piece not in self._pieces:
            self._pieces[piece] = self.tokenizer(piece, add_special_tokens=False).input_ids
        return self._pieces[piece]


@lru_cache
def _splitter(placeholders: tuple[str, ...]) -> re.Pattern[str]:
    """Cuts a text at whole placeholders and keeps them; the longer of two that begin alike wins."""
    longest_first = sorted(placeholders, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(whole_word_regex, longest_first))})", re.IGNORECASE)
