"""Trains a tiny model for a few steps, for the tests of callbacks and loggers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.models import LatentDiffusion
from tinv.runs.layout import list_checkpoints
from tinv.training.callbacks import Progress
from tinv.training.module import TextualInversion


def fit(
    folder: Path,
    model: LatentDiffusion,
    callbacks: Sequence[Callback],
    *,
    max_steps: int = 6,
    accumulate: int = 1,
    loggers: Sequence[Any] = (),
    resume: Path | None = None,
    trainer: dict[str, Any] | None = None,
    num_workers: int = 0,
    **embedding: Any,
) -> TextualInversion:
    """Trains on the CPU; returns the module, which has the `.trainer`."""
    module = tiny_module(model, **embedding)
    settings = {
        "max_steps": max_steps,
        "accumulate_grad_batches": accumulate,
        "callbacks": list(callbacks),
        "logger": list(loggers) or False,
        "log_every_n_steps": 1,
        "val_check_interval": 4 * accumulate,
        "enable_progress_bar": any(isinstance(callback, Progress) for callback in callbacks),
    }
    loop = tiny_trainer(**settings | (trainer or {}))
    loop.fit(module, tiny_data(folder / "images", model, num_workers=num_workers), ckpt_path=resume, weights_only=True)
    return module


def crash(
    folder: Path, model: LatentDiffusion, callbacks: Sequence[Callback], after_steps: int, **options: Any
) -> Path:
    """Trains until the run crashes after this step; returns its newest checkpoint."""
    error = RuntimeError(f"crash after {after_steps} steps")
    with pytest.raises(RuntimeError, match=str(error)):
        fit(folder, model, [*callbacks, Interrupt(after_steps, error)], **options)
    return list_checkpoints(folder)[0]


def vectors(module: TextualInversion) -> Tensor:
    """Returns the learned vectors [K, D]."""
    return module.export_vectors()["<cat-toy>"]["clip_l"]


class Interrupt(Callback):
    """Raises after a number of optimizer steps, like a crash or Ctrl-C."""

    def __init__(self, after_steps: int, error: BaseException):
        self.after_steps, self.error = after_steps, error

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.after_steps:
            raise self.error


class FillGradient(Callback):
    """Fills the gradient of one vector or of all with a value, in one optimizer step or in each."""

    def __init__(self, step: int | None, value: float, index: int | None = None):
        self.step, self.value, self.index = step, value, slice(None) if index is None else index

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        if self.step in (None, trainer.global_step + 1):
            for parameter in pl_module.learned_tokens[0].embedding.parameters():
                parameter.grad[self.index] = self.value


class Overflow(torch.optim.SGD):
    """An optimizer whose step writes an infinity."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data[0, 0] = float("inf")
        return loss
