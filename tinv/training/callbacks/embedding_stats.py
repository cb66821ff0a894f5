"""How the embedding is doing, seen from the vocabulary it lives in.

K vectors of the concept, V words of the vocabulary, D width.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from tinv.embeddings import LearnedToken
from tinv.errors import UserError
from tinv.token_parts import encoder_of, part_of
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics, log_words


class EmbeddingStats(Callback):
    """Norm among the vocabulary's norms, cosine to the start, nearest words.

    A vector far longer than any word (percentile 100) tends to overpower the rest of a prompt; one that has left its
    start behind (cosine near 0) has little of its class left. Both cost editability, long before the loss tells.
    """

    def __init__(self, every_n_steps: int = 50, num_nearest: int = 5):
        """Args:
        every_n_steps: in optimizer steps.
        num_nearest: how many words to name for each vector.
        """
        if num_nearest < 1:
            raise UserError(
                f"callbacks.embedding_stats.num_nearest must be 1 or more, got {num_nearest}; ~callbacks.embedding_stats turns it off"
            )
        self.num_nearest = num_nearest
        self.latest: dict[str, Any] = {}
        """The last look: step, norm, norm_percentile, cosine_to_start, and the nearest words of each vector; where
        there are several concepts, `norm/cat-toy` and so on for each."""
        self._every = EveryNSteps(every_n_steps, setting="callbacks.embedding_stats.every_n_steps")
        self._start: dict[str, dict[str, Tensor]] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Where the rows start, before a checkpoint moves them."""
        self._start = pl_module.export_vectors()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The start."""
        self._every.begin(trainer.global_step)
        self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Every n optimizer steps."""
        if self._every.due(trainer.global_step):
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """The end, if it is not among them."""
        if self.latest.get("step") != trainer.global_step:
            self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.latest = {"step": trainer.global_step}
            for word in pl_module.learned_tokens:
                self._look_at(trainer, pl_module, word)

    def _look_at(self, trainer: Trainer, pl_module: Any, word: LearnedToken) -> None:
        norms, percentiles, cosines = [], [], []
        nearest: dict[str, list[str]] = {}
        for key, rows_KD in pl_module.export_vectors()[word.placeholder_token].items():
            encoder, part = encoder_of(key), part_of(key)
            table_VD = pl_module.model.tables[encoder].detach().float()  # stays where it is: it may be large
            norms.append(rows_KD.norm(dim=1))
            cosines.append(cosine_similarity(rows_KD, self._start[word.placeholder_token][key]))
            rows_KD = rows_KD.to(table_VD.device)
            percentiles.append(norm_percentiles(rows_KD, table_VD).cpu())
            names = word.concept.words(len(rows_KD))
            found = nearest_words(rows_KD, table_VD, pl_module.model.tokenizers[encoder], self.num_nearest)
            if part:
                names = tuple(f"{name}/{part}" for name in names)
            for name, near in zip(names, found, strict=True):
                nearest[name] = nearest.get(name, []) + near
        numbers = {
            f"norm{word.suffix}": torch.cat(norms).mean().item(),
            f"norm_percentile{word.suffix}": torch.cat(percentiles).mean().item(),
            f"cosine_to_start{word.suffix}": torch.cat(cosines).mean().item(),
        }
        self.latest |= {**numbers, f"nearest{word.suffix}": nearest}
        log_metrics(trainer, {f"embedding/{name}": value for name, value in numbers.items()})
        table = {name: ", ".join(near) for name, near in nearest.items()}
        log_words(trainer, f"embedding/nearest{word.suffix}", table)


def norm_percentiles(rows_KD: Tensor, table_VD: Tensor) -> Tensor:
    """[K]: the percentage of the vocabulary's words whose vectors are shorter."""
    return 100 * (table_VD.norm(dim=1)[None, :] < rows_KD.norm(dim=1)[:, None]).float().mean(dim=1)


def nearest_words(rows_KD: Tensor, table_VD: Tensor, tokenizer: Any, count: int) -> list[list[str]]:
    """For each vector the words of the smallest angle, nearest first; `ca-` is the beginning of longer words."""
    cosines_KV = normalize(rows_KD, dim=1) @ table_VD.T / table_VD.norm(dim=1).clamp(min=1e-12)
    cosines_KV[:, tokenizer.all_special_ids] = -1
    cosines_KV[:, len(tokenizer) :] = -1  # some tables are longer than their vocabulary
    ids = cosines_KV.topk(min(count, cosines_KV.shape[1]), dim=1).indices
    return [[_spelled(token) for token in tokenizer.convert_ids_to_tokens(row)] for row in ids.tolist()]


def _spelled(token: str) -> str:
    return token.removesuffix("</w>") if token.endswith("</w>") else f"{token}-"
