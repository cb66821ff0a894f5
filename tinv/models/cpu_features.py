"""What the CPU supports: whether a run uses it, and which number formats it multiplies natively."""

import warnings
from typing import Any

import torch


def has_matmul(dtype: str) -> bool:
    """Whether oneDNN has CPU instructions for products of `bfloat16` or `float16`; True for any other dtype."""
    if not torch.backends.mkldnn.is_available():
        return True
    mkldnn: Any = torch.ops.mkldnn
    checks = {"bfloat16": mkldnn._is_mkldnn_bf16_supported, "float16": mkldnn._is_mkldnn_fp16_supported}
    return dtype not in checks or bool(checks[dtype]())


def autocast_bfloat16(device: str) -> torch.autocast:
    """Autocast to bfloat16 on a kind of device, except on a CPU that would be twenty times slower with it."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu" or has_matmul("bfloat16"))


def warn_of_emulation(dtype: str | None, precision: str | int | None, accelerator: str | None) -> None:
    """Warn of a precision that this CPU can only emulate, which makes a run take days instead of hours.

    `dtype` is that of the frozen weights, `precision` and `accelerator` are Lightning's; None is the default.
    """
    has_other_device = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator != "cpu" and (accelerator not in (None, "auto") or has_other_device):
        return
    settings = {"model.dtype": dtype, "trainer.precision": precision}
    dtypes = {"model.dtype": dtype, "trainer.precision": "bfloat16" if str(precision).startswith("bf16") else None}
    if slow := [f"{name}={settings[name]}" for name, used in dtypes.items() if used and not has_matmul(used)]:
        warnings.warn(
            f"{' and '.join(slow)}: this CPU has no instructions for this precision, so a step takes at least ten "
            f"times as long as in float32. Set model.dtype=float32 trainer.precision=32-true.",
            stacklevel=2,
        )
