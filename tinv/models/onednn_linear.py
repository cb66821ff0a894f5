"""Who multiplies the frozen weights in float32 on the CPU: torch's choice, or oneDNN.

torch asks oneDNN for convolutions, and its BLAS for linear layers and, on a single thread, for convolutions of 1 x 1.
On x86 that BLAS is MKL, which does half of what an AMD processor with AVX-512 can; with AVX2 alone both do the same.
A linear layer over some tokens is a convolution of 1 x 1 over as many pixels, seen without a copy in the order that
oneDNN likes best.

C channels, M tokens.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinv.errors import UserError
from tinv.models import cpu_features as processor

ProductsKind = Literal["torch", "onednn"]
FEW_TOKENS, FEW_NUMBERS = 31, 20480
"""Up to so many tokens, oneDNN spends its time on the weights' layout; up to so many numbers, torch does not ask it."""
_ASKS_ONEDNN = (1, 2)
"""A dilation. There is nothing to dilate in a window of 1 x 1, but torch has no code of its own for any."""


def check_products(
    products: str | None, *, dtype: str | None, precision: str | int | None, accelerator: str | None
) -> None:
    """Refuse oneDNN where it has nothing to do.

    Args:
        products: of the settings; None is torch.
        dtype: of the frozen weights; None is float32.
        precision: as Lightning's Trainer takes it; None is 32-true.
        accelerator: as Lightning's Trainer takes it; None is auto.

    Raises:
        UserError: there is no float32 to multiply, no CPU to do it, or no oneDNN.
    """
    if products != "onednn":
        return
    other = "write model.products=torch"
    if dtype not in (None, "float32") or precision not in (None, "32-true", "32", 32):
        raise UserError(
            f"model.products=onednn is for float32, got model.dtype={dtype} trainer.precision={precision}, whose "
            f"products oneDNN makes in any case; {other}"
        )
    if not processor.is_taken(accelerator):
        raise UserError(
            f"model.products=onednn is for CPUs, and trainer.accelerator={accelerator} takes another device; {other}, "
            f"or trainer=cpu"
        )
    if not torch.backends.mkldnn.is_available():
        raise UserError(f"model.products=onednn: this torch is built without oneDNN; {other}")


def use_onednn(part: nn.Module) -> None:
    """Have oneDNN make the float32 products of a frozen part while it is on the CPU; its weights stay what they are."""
    for layer in part.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = _Linear
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride == (1, 1):
            layer.dilation = _ASKS_ONEDNN


class _Linear(nn.Linear):
    """A linear layer that is a convolution for many tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C of the output]."""
        if x.device.type != "cpu" or x.numel() <= max(FEW_TOKENS * self.in_features, FEW_NUMBERS):
            return super().forward(x)
        x_1CM1 = x.reshape(1, -1, 1, self.in_features).permute(0, 3, 1, 2)
        y_1CM1 = F.conv2d(x_1CM1, self.weight[:, :, None, None], self.bias, dilation=_ASKS_ONEDNN)
        return y_1CM1.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)
