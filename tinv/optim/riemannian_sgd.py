"""Gradient descent on a sphere, which rotates vectors and keeps their norms.

K vectors, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import Optimizer


class RiemannianSGD(Optimizer):
    """Rotates each vector by the same angle per step, against its gradient (DTI, Kim et al. 2025, arXiv 2512.13672).

    The gradient of the direction u, minus the gradient of the prior, is projected onto the tangent plane at u and
    normalized; u moves by `lr` along it and back onto the sphere, a rotation by arctan(lr) radians. The prior is a von
    Mises-Fisher distribution around the initial direction: a constant pull of `kappa`, on the scale of the gradient's
    norm. Vectors without a gradient do not move.

    After the authors' code (github.com/kunheek/dti, MIT). This version takes vectors of any norm instead of directions,
    and stores the prior's direction in the state, so that a resumed run keeps it.
    """

    def __init__(self, params: Any, lr: float = 4e-2, kappa: float = 1e-4):
        """Checks the settings.

        Args:
            params: vectors [K, D] with norms above 0.
            lr: step length on the unit sphere, about the angle in radians; 1e-2 to 1e-1.
            kappa: pull of the prior, 0 to 1e-3.
        """
        if lr < 0:
            raise ValueError(f"lr must be 0 or more, got {lr}")
        if kappa < 0:
            raise ValueError(f"kappa must be 0 or more, got {kappa}")
        super().__init__(params, {"lr": lr, "kappa": kappa})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Rotates every vector that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for vectors_KD in group["params"]:
                if vectors_KD.grad is not None:
                    self._rotate(vectors_KD, vectors_KD.grad, lr=group["lr"], kappa=group["kappa"])
        return loss

    def _rotate(self, vectors_KD: Tensor, gradient_KD: Tensor, *, lr: float, kappa: float) -> None:
        norm_K1, direction_KD = vectors_KD.norm(dim=1, keepdim=True), normalize(vectors_KD, dim=1)
        prior_KD = self.state[vectors_KD].setdefault("init_direction", direction_KD.clone())
        tangent_KD = norm_K1 * gradient_KD - kappa * prior_KD
        tangent_KD -= (tangent_KD * direction_KD).sum(dim=1, keepdim=True) * direction_KD
        has_gradient_K1 = gradient_KD.ne(0).any(dim=1, keepdim=True)
        rotated_KD = normalize(direction_KD - lr * normalize(tangent_KD, dim=1), dim=1)
        vectors_KD.copy_(torch.where(has_gradient_K1, norm_K1 * rotated_KD, vectors_KD))
