"""Stops at the first number that is no number, before it can spoil the embedding."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from tinv.errors import UserError


class NonFiniteError(UserError):
    """The loss, a gradient or a learned row became infinite or not a number."""


class StopOnNonFinite(Callback):
    """Tries the loss and the gradients before each optimizer step, and the rows after it.

    The device does so by itself: from a bad step on its gradients are zeros and its rows stay what they were before.
    Reading how it went would make it wait, so this is done only with the steps that are logged, before the loss is
    measured or anything is saved, and at the end.

    With float16 a gradient that overflows is everyday business: the gradient scaler skips that step and lowers its
    scale, so there a gradient counts as bad only when the scale has come down to 1.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._good: list[Tensor] = []
        self._since: dict[str, Tensor] = {}
        """The optimizer step in which each of them was bad for the first time, 0 if none, on the device."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The start is good."""
        self._losses.clear()
        self._since.clear()
        self._keep(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Remember the loss of each micro-batch."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Nothing that is not finite may enter the step."""
        step = trainer.global_step + 1
        suspects = {"train/loss": torch.stack(self._losses)}
        self._losses.clear()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None or scaler.get_scale() <= 1:
            rows = pl_module.named_vectors().items()
            suspects |= {f"the gradient of {name}": row.grad for name, row in rows if row.grad is not None}
        is_bad = self._try(suspects, step=step)
        for row in pl_module.named_vectors().values():
            if row.grad is not None:
                row.grad.masked_fill_(is_bad, 0.0)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and step % every == 0:
            self._look(pl_module)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Nothing that is not finite may stay in the rows, or in the averages of them."""
        is_bad = self._try(pl_module.named_vectors(), step=trainer.global_step)
        for tensor, good in zip(pl_module.learned_tokens.parameters(), self._good, strict=True):
            tensor.copy_(torch.where(is_bad, good, tensor))
        self._keep(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Before the loss is measured."""
        self._look(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Before a checkpoint is on disk."""
        self._look(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Before the result is."""
        self._look(pl_module)

    def _keep(self, pl_module: Any) -> None:
        self._good = [tensor.detach().clone() for tensor in pl_module.learned_tokens.parameters()]

    def _try(self, suspects: Mapping[str, Tensor], *, step: int) -> Tensor:
        """Whether any was bad until now, [], on the device."""
        for name, tensor in suspects.items():
            is_finite = tensor.detach().isfinite().all()
            since = self._since.get(name, torch.zeros_like(is_finite, dtype=torch.int64))
            self._since[name] = torch.where(is_finite | (since > 0), since, step)
        return torch.stack([*self._since.values()]).any()

    def _look(self, pl_module: Any) -> None:
        """Read all of it at once."""
        if not self._since:
            return
        names, steps = [*self._since], torch.stack([*self._since.values()]).tolist()
        self._since.clear()
        if not any(steps):
            return
        step = min(step for step in steps if step)
        bad = [name for name, first in zip(names, steps, strict=True) if first == step]
        pl_module.last_finite_step = step - 1
        raise NonFiniteError(
            f"{' and '.join(bad)} became infinite or not a number in optimizer step {step}; the embedding is kept "
            f"as it was before that step; lower optimizer.lr, set trainer.gradient_clip_val=1, or use "
            f"trainer.precision=32-true"
        )
