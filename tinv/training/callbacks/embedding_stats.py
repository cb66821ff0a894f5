"""Compares the learned vectors with the vocabulary.

K vectors of a concept, V tokens of the vocabulary, D width.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from tinv.concept import strip_word_marker
from tinv.embeddings import LearnedToken
from tinv.errors import require_minimum
from tinv.token_parts import encoder_of, part_of
from tinv.training.callbacks.every_n_steps import EveryNSteps
from tinv.training.callbacks.logging import log_metrics, log_texts


class EmbeddingStats(Callback):
    """Logs the norm, its percentile in the vocabulary, the cosine to the initial vector, and the nearest tokens.

    A vector much longer than any vocabulary embedding (percentile 100) tends to dominate a prompt. A vector with a
    cosine near 0 to its initial value has lost the meaning of its initializer. Both reduce editability, long before
    the loss shows it.
    """

    def __init__(self, every_n_steps: int = 50, num_nearest: int = 5):
        """Args:
        every_n_steps: interval in optimizer steps.
        num_nearest: number of nearest tokens to log for each vector.
        """
        require_minimum("callbacks.embedding_stats.num_nearest", num_nearest, 1)
        self.num_nearest = num_nearest
        self.latest: dict[str, Any] = {}
        """The latest values: step, norm, norm_percentile, cosine_to_start, and the nearest tokens of each vector; in a
        run of several concepts `norm/cat-toy` and so on for each."""
        self._every = EveryNSteps(every_n_steps, setting="callbacks.embedding_stats.every_n_steps")
        self._initial: dict[str, dict[str, Tensor]] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Copies the initial vectors, before a checkpoint is loaded."""
        self._initial = pl_module.export_vectors()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Logs the first step."""
        self._every.reset(trainer.global_step)
        self._log(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if self._every.is_due(trainer.global_step):
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Logs the last step unless it has just been logged."""
        if self.latest.get("step") != trainer.global_step:
            self._log(trainer, pl_module)

    def _log(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.latest = {"step": trainer.global_step}
            for token in pl_module.learned_tokens:
                self._log_token(trainer, pl_module, token)

    def _log_token(self, trainer: Trainer, pl_module: Any, token: LearnedToken) -> None:
        norms, percentiles, cosines = [], [], []
        nearest: dict[str, list[str]] = {}
        for key, vectors_KD in pl_module.export_vectors()[token.placeholder_token].items():
            encoder, part = encoder_of(key), part_of(key)
            table_VD = pl_module.model.tables[encoder].detach().float()  # stays on its device: it may be large
            norms.append(vectors_KD.norm(dim=1))
            cosines.append(cosine_similarity(vectors_KD, self._initial[token.placeholder_token][key]))
            vectors_KD = vectors_KD.to(table_VD.device)
            percentiles.append(norm_percentiles(vectors_KD, table_VD).cpu())
            neighbors = nearest_tokens(vectors_KD, table_VD, pl_module.model.tokenizers[encoder], self.num_nearest)
            for name, tokens in zip(token.concept.words(len(vectors_KD)), neighbors, strict=True):
                nearest.setdefault(f"{name}/{part}" if part else name, []).extend(tokens)
        stats = {"norm": norms, "norm_percentile": percentiles, "cosine_to_start": cosines}
        values = {f"{name}{token.suffix}": torch.cat(parts_K).mean().item() for name, parts_K in stats.items()}
        self.latest |= {**values, f"nearest{token.suffix}": nearest}
        log_metrics(trainer, {f"embedding/{name}": value for name, value in values.items()})
        texts = {name: ", ".join(tokens) for name, tokens in nearest.items()}
        log_texts(trainer, f"embedding/nearest{token.suffix}", texts)


def norm_percentiles(vectors_KD: Tensor, table_VD: Tensor) -> Tensor:
    """Returns, for each vector [K], the percentage of vocabulary embeddings that are shorter."""
    return 100 * (table_VD.norm(dim=1)[None, :] < vectors_KD.norm(dim=1)[:, None]).float().mean(dim=1)


def nearest_tokens(vectors_KD: Tensor, table_VD: Tensor, tokenizer: Any, count: int) -> list[list[str]]:
    """Returns the tokens of the highest cosine similarity to each vector, nearest first; `ca-` begins longer words."""
    cosines_KV = normalize(vectors_KD, dim=1) @ table_VD.T / table_VD.norm(dim=1).clamp(min=1e-12)
    cosines_KV[:, tokenizer.all_special_ids] = -1
    cosines_KV[:, len(tokenizer) :] = -1  # some tables are longer than their vocabulary
    ids_KN = cosines_KV.topk(min(count, cosines_KV.shape[1]), dim=1).indices
    names_KN = [tokenizer.convert_ids_to_tokens(ids) for ids in ids_KN.tolist()]
    return [[n if (n := strip_word_marker(name)) != name else f"{n}-" for name in names_N] for names_N in names_KN]
