"""Stops a run at the first infinite or NaN value, before it reaches the embedding."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from tinv.errors import UserError


class NonFiniteError(UserError):
    """The loss, a gradient or a learned vector is infinite or NaN."""


class StopOnNonFinite(Callback):
    """Checks the loss and the gradients before each optimizer step, and the vectors after it.

    The check runs on the device and does not synchronize: from the first bad step on, the gradients are zeroed and the
    vectors keep their values of the step before. The result is read, and the run stopped, only at steps that are
    logged, before a validation or a checkpoint, and at the end.

    In float16 an overflowing gradient is normal: the gradient scaler skips the step and lowers its scale. There a
    gradient counts as bad only if the scale is 1 or less.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._last_good: list[Tensor] = []
        self._first_bad_step: dict[str, Tensor] = {}
        """By name of what was checked: the first optimizer step in which it was bad, 0 if none, on the device."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Copies the initial vectors."""
        self._losses.clear()
        self._first_bad_step.clear()
        self._copy_vectors(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Records the loss of each micro-batch."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Zeroes the gradients if a loss or gradient is or was bad."""
        step = trainer.global_step + 1
        tensors = {"train/loss": torch.stack(self._losses)}
        self._losses.clear()
        gradients = {name: vectors.grad for name, vectors in pl_module.named_vectors().items()}
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None or scaler.get_scale() <= 1:
            tensors |= {f"the gradient of {name}": grad for name, grad in gradients.items() if grad is not None}
        is_bad = self._check(tensors, step=step)
        for grad in gradients.values():
            if grad is not None:
                grad.masked_fill_(is_bad, 0.0)
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if interval and step % interval == 0:
            self._raise_if_bad(trainer, pl_module)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Restores the vectors and their averages if they are or were bad."""
        is_bad = self._check(pl_module.named_vectors(), step=trainer.global_step)
        for tensor, good in zip(pl_module.learned_tokens.parameters(), self._last_good, strict=True):
            tensor.copy_(torch.where(is_bad, good, tensor))
        self._copy_vectors(pl_module)

    def _copy_vectors(self, pl_module: Any) -> None:
        self._last_good = [tensor.detach().clone() for tensor in pl_module.learned_tokens.parameters()]

    def _check(self, tensors: Mapping[str, Tensor], *, step: int) -> Tensor:
        """Returns a scalar on the device: whether anything was bad in this step or an earlier one."""
        for name, tensor in tensors.items():
            is_finite = tensor.detach().isfinite().all()
            first = self._first_bad_step.get(name, torch.zeros_like(is_finite, dtype=torch.int64))
            self._first_bad_step[name] = torch.where(is_finite | (first > 0), first, step)
        return torch.stack([*self._first_bad_step.values()]).any()

    def _raise_if_bad(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Stops a bad run, also before it validates, saves a checkpoint or exports its result."""
        if not self._first_bad_step:
            return
        names, steps = [*self._first_bad_step], torch.stack([*self._first_bad_step.values()]).tolist()
        self._first_bad_step.clear()
        if not any(steps):
            return
        step = min(step for step in steps if step)
        bad = [name for name, first in zip(names, steps, strict=True) if first == step]
        pl_module.last_finite_step = step - 1
        raise NonFiniteError(
            f"{' and '.join(bad)} became infinite or NaN in optimizer step {step}; the embedding of the step before is "
            f"saved; lower optimizer.lr, set trainer.gradient_clip_val=1, or use trainer.precision=32-true"
        )

    on_validation_start = on_train_end = _raise_if_bad

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        self._raise_if_bad(trainer, pl_module)
