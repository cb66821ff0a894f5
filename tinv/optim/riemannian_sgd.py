"""Gradient descent on a sphere: rows turn, and keep their length.

K rows, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import Optimizer


class RiemannianSGD(Optimizer):
    """Turns each row by one angle a step, against its gradient (Kim et al. 2025, arXiv 2512.13672, "DTI").

    The gradient of the direction, less the prior's, is laid into the tangent plane and made as long as 1; the row goes
    `lr` that way and back to the sphere, which is a turn by arctan(lr) radians. The prior is von Mises and Fisher's,
    towards where the row started: a constant pull of `kappa`, which weighs as much as a gradient of that length. A row
    without a gradient stays.

    After the authors' code (github.com/kunheek/dti, MIT); ours takes rows of any length, not directions, and keeps the
    prior's direction in its state, so that a run that goes on is drawn to where it began.
    """

    def __init__(self, params: Any, lr: float = 4e-2, kappa: float = 1e-4):
        """Args:
        params: rows [K, D], not at zero.
        lr: the step on the unit sphere, about the angle in radians; 1e-2 to 1e-1.
        kappa: the prior's pull, 0 to 1e-3.
        """
        if lr < 0:
            raise ValueError(f"lr must be 0 or more, got {lr}")
        if kappa < 0:
            raise ValueError(f"kappa must be 0 or more, got {kappa}")
        super().__init__(params, {"lr": lr, "kappa": kappa})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Turn every row that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for rows_KD in group["params"]:
                if rows_KD.grad is not None:
                    self._turn(rows_KD, rows_KD.grad, lr=group["lr"], kappa=group["kappa"])
        return loss

    def _turn(self, rows_KD: Tensor, gradient_KD: Tensor, *, lr: float, kappa: float) -> None:
        length_K1, facing_KD = rows_KD.norm(dim=1, keepdim=True), normalize(rows_KD, dim=1)
        start_KD = self.state[rows_KD].setdefault("start", facing_KD.clone())
        uphill_KD = length_K1 * gradient_KD - kappa * start_KD
        uphill_KD -= (uphill_KD * facing_KD).sum(dim=1, keepdim=True) * facing_KD
        has_gradient_K1 = gradient_KD.ne(0).any(dim=1, keepdim=True)
        turned_KD = normalize(facing_KD - lr * normalize(uphill_KD, dim=1), dim=1)
        rows_KD.copy_(torch.where(has_gradient_K1, length_K1 * turned_KD, rows_KD))
