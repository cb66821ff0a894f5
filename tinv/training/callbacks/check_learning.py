"""Stops a run that learns nothing, instead of letting it "finish"."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from tinv.errors import UserError
from tinv.token_parts import is_of_layers


class StuckError(UserError):
    """After a number of steps a learned row has had no gradient, or stands where it started."""


class CheckLearning(Callback):
    """Looks once, after the first steps of the run, whether every learned row had a gradient and moved."""

    def __init__(self, after_steps: int = 20):
        """Args:
        after_steps: after how many optimizer steps to look.
        """
        if after_steps < 1:
            raise UserError(f"callbacks.check_learning.after_steps must be 1 or more, got {after_steps}")
        self.after_steps = after_steps
        self._start: dict[str, Tensor] = {}
        self._had_gradient: dict[str, Tensor] = {}
        self._is_watching = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Where the rows start, before a checkpoint moves them."""
        self._start = _copy_vectors(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """A run that goes on behind the look has passed it."""
        self._is_watching = trainer.global_step < self.after_steps
        self._had_gradient = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Which rows [K] have a gradient, as long as it matters."""
        if self._is_watching:
            for name, rows_KD in pl_module.named_vectors().items():
                has_K = torch.zeros(len(rows_KD), dtype=torch.bool, device=rows_KD.device)
                if rows_KD.grad is not None:
                    has_K = rows_KD.grad.ne(0).any(dim=1)
                self._had_gradient[name] = self._had_gradient.get(name, has_K) | has_K

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """The look."""
        if self._is_watching and trainer.global_step >= self.after_steps:
            self._is_watching = False
            for name, rows_KD in _copy_vectors(pl_module).items():
                self._check(name, rows_KD, pl_module.named_parts()[name])

    def _check(self, name: str, rows_KD: Tensor, parts: Sequence[str]) -> None:
        had_K, moved_K = self._had_gradient[name], rows_KD.ne(self._start[name]).any(dim=1)
        if parts:  # the first samples need not be of all stages, and there are layers that take no notice of words
            had_PK, moved_PK = had_K.view(len(parts), -1), moved_K.view(len(parts), -1)
            had_K, moved_K = had_PK.any(dim=0), moved_PK.any(dim=0)
            _tell_of_deaf_layers([part for part, had in zip(parts, had_PK.any(dim=1).tolist()) if not had])
        no_gradient = (~had_K).nonzero().flatten().tolist()
        if no_gradient:
            raise StuckError(
                f"after {self.after_steps} optimizer steps {_rows(name, no_gradient, len(had_K))} had no gradient: "
                f"the captions do not hold the placeholder (data.templates, or cut off behind "
                f"the 77 tokens that fit), or the model detaches its text"
            )
        unmoved = (~moved_K).nonzero().flatten().tolist()
        if unmoved:
            raise StuckError(
                f"after {self.after_steps} optimizer steps {_rows(name, unmoved, len(moved_K))} had a gradient but did "
                f"not move: optimizer.lr is zero or too small to count in float32; set optimizer.lr=5e-3, or "
                f"raise callbacks.check_learning.after_steps if the rate is still warming up"
            )


def _copy_vectors(pl_module: Any) -> dict[str, Tensor]:
    return {name: vectors_KD.detach().cpu().clone() for name, vectors_KD in pl_module.named_vectors().items()}


def _tell_of_deaf_layers(parts: Sequence[str]) -> None:
    if is_of_layers(parts):
        warnings.warn(
            f"the rows for layers of the U-Net that take no notice of words stay where they start: {', '.join(parts)}",
            stacklevel=2,
        )


def _rows(name: str, which: list[int], num_vectors: int) -> str:
    if len(which) == num_vectors:
        return f"{name} ({'the one vector' if num_vectors == 1 else f'all {num_vectors} vectors'})"
    return f"vector{'s' if len(which) > 1 else ''} {', '.join(map(str, which))} of {name}"
