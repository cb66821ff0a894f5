"""Stops at the first number that is no number, before it can spoil the embedding."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from tinv.errors import UserError


class NonFiniteError(UserError):
    """The loss, a gradient or a learned row became infinite or not a number."""


class StopOnNonFinite(Callback):
    """Looks at the loss and the gradients before each optimizer step, and at the rows after it.

    A bad step is not applied; should one have spoiled the rows after all, they are put back as they were before it.
    With float16 a gradient that overflows is everyday business: the gradient scaler skips that step and lowers its
    scale, so there a gradient counts as bad only when the scale has come down to 1.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._good: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The start is good."""
        self._losses.clear()
        self._keep(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Remember the loss of each micro-batch; looking at it now would wait for the device."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Nothing that is not finite may enter the step."""
        suspects = {"train/loss": torch.stack(self._losses)}
        self._losses.clear()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None or scaler.get_scale() <= 1:
            rows = pl_module.named_rows().items()
            suspects |= {f"the gradient of {name}": row.grad for name, row in rows if row.grad is not None}
        self._check(suspects, step=trainer.global_step + 1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Nothing that is not finite may stay in the rows."""
        rows = {name: row.detach() for name, row in pl_module.named_rows().items()}
        try:
            self._check(rows, step=trainer.global_step)
        except NonFiniteError:
            with torch.no_grad():
                for name, row in pl_module.named_rows().items():
                    row.copy_(self._good[name])
            raise
        self._keep(pl_module)

    def _keep(self, pl_module: Any) -> None:
        self._good = {name: row.detach().clone() for name, row in pl_module.named_rows().items()}

    @staticmethod
    def _check(suspects: dict[str, Tensor], *, step: int) -> None:
        """One look at the device, whatever the number of tensors."""
        are_finite = torch.stack([tensor.isfinite().all() for tensor in suspects.values()]).tolist()
        bad = [name for name, is_finite in zip(suspects, are_finite, strict=True) if not is_finite]
        if bad:
            raise NonFiniteError(
                f"{' and '.join(bad)} became infinite or not a number in optimizer step {step}; the embedding is kept "
                f"as it was before that step; lower optimizer.lr, set trainer.gradient_clip_val=1, or use "
                f"trainer.precision=32-true"
            )
