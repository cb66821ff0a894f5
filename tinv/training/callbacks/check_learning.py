"""Stops a run whose vectors do not change."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from tinv.errors import UserError, require_minimum
from tinv.token_parts import is_of_layers


class NotLearningError(UserError):
    """After a number of steps a learned vector has received no gradient, or has its initial value."""


class CheckLearning(Callback):
    """Checks once, after the first steps of the run, that every learned vector received a gradient and changed."""

    def __init__(self, after_steps: int = 20):
        """after_steps: number of optimizer steps after which to check."""
        require_minimum("callbacks.check_learning.after_steps", after_steps, 1)
        self.after_steps = after_steps
        self._initial: dict[str, Tensor] = {}
        self._had_gradient: dict[str, Tensor] = {}
        self._is_pending = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Copies the initial vectors, before a checkpoint is loaded."""
        self._initial = _copy_vectors(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Skips the check in a run that resumes after it."""
        self._is_pending, self._had_gradient = trainer.global_step < self.after_steps, {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Records which vectors [K] have a gradient."""
        if self._is_pending:
            for name, vectors_KD in pl_module.named_vectors().items():
                has_K = torch.zeros(len(vectors_KD), dtype=torch.bool, device=vectors_KD.device)
                if vectors_KD.grad is not None:
                    has_K = vectors_KD.grad.ne(0).any(dim=1)
                self._had_gradient[name] = self._had_gradient.get(name, has_K) | has_K

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Checks the vectors after `after_steps` steps."""
        if self._is_pending and trainer.global_step >= self.after_steps:
            self._is_pending = False
            for name, vectors_KD in _copy_vectors(pl_module).items():
                self._check(name, vectors_KD, pl_module.named_parts()[name], pl_module.model)

    def _check(self, name: str, vectors_KD: Tensor, parts: Sequence[str], model: Any) -> None:
        had_K, moved_K = self._had_gradient[name], vectors_KD.ne(self._initial[name]).any(dim=1)
        if parts:  # the first steps need not sample every timestep stage, and some layers receive no gradient
            had_PK, moved_PK = had_K.view(len(parts), -1), moved_K.view(len(parts), -1)
            had_K, moved_K = had_PK.any(dim=0), moved_PK.any(dim=0)
            without_gradient = [part for part, had in zip(parts, had_PK.any(dim=1).tolist()) if not had]
            if is_of_layers(without_gradient):
                problem = "these layers received no gradient from the text; their vectors keep their initial values"
                warnings.warn(f"{problem}: {', '.join(without_gradient)}", stacklevel=2)
        if no_gradient := (~had_K).nonzero().flatten().tolist():
            lengths = {role: model.family.sequence_length(tokenizer) for role, tokenizer in model.tokenizers.items()}
            limits = " and ".join(f"{length} tokens of {role}" for role, length in lengths.items())
            raise NotLearningError(
                f"after {self.after_steps} optimizer steps {_describe(name, no_gradient, len(had_K))} had no "
                f"gradient: the captions do not contain the placeholder token (data.templates, or it is cut off after "
                f"{limits}), or the model detaches its text embeddings"
            )
        if unchanged := (~moved_K).nonzero().flatten().tolist():
            raise NotLearningError(
                f"after {self.after_steps} optimizer steps {_describe(name, unchanged, len(moved_K))} had a gradient "
                f"but did not change: optimizer.lr is zero or too small for float32; set optimizer.lr=5e-3, or raise "
                f"callbacks.check_learning.after_steps if the learning rate is still warming up"
            )


def _copy_vectors(pl_module: Any) -> dict[str, Tensor]:
    return {name: vectors_KD.detach().cpu().clone() for name, vectors_KD in pl_module.named_vectors().items()}


def _describe(name: str, indices: list[int], num_vectors: int) -> str:
    if len(indices) == num_vectors:
        return f"{name} ({'the only vector' if num_vectors == 1 else f'all {num_vectors} vectors'})"
    return f"vector{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))} of {name}"
