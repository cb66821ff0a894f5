"""The processor, where a run has no other device: whether it has one, and which numbers the processor multiplies."""

import warnings
from typing import Any

import torch


def is_taken(accelerator: str | None) -> bool:
    """Whether a run with this accelerator trains on the processor.

    Args:
        accelerator: as Lightning's Trainer takes it; None is auto.
    """
    has_other_device = torch.cuda.is_available() or torch.backends.mps.is_available()
    return accelerator == "cpu" or (accelerator in (None, "auto") and not has_other_device)


def multiplies(dtype: str) -> bool:
    """Whether oneDNN finds instructions for products of `bfloat16` or `float16`; what it does not know passes."""
    if not torch.backends.mkldnn.is_available():
        return True
    known: Any = torch.ops.mkldnn
    ask = {"bfloat16": known._is_mkldnn_bf16_supported, "float16": known._is_mkldnn_fp16_supported}
    return dtype not in ask or bool(ask[dtype]())


def in_bfloat16(device: str) -> torch.autocast:
    """Products in bfloat16 on a kind of device; in float32 on a processor that would be twenty times slower with it."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu" or multiplies("bfloat16"))


def warn_of_emulation(dtype: str | None, precision: str | int | None, accelerator: str | None) -> None:
    """Warn of numbers that this processor takes apart one by one, for which a run takes days instead of hours.

    Args:
        dtype: of the frozen weights; None is float32.
        precision: as Lightning's Trainer takes it; None is 32-true.
        accelerator: as Lightning's Trainer takes it; None is auto.
    """
    asked = {"model.dtype": dtype, "trainer.precision": "bfloat16" if str(precision).startswith("bf16") else None}
    settings = {"model.dtype": dtype, "trainer.precision": precision}
    slow = [f"{name}={settings[name]}" for name, numbers in asked.items() if numbers and not multiplies(numbers)]
    if slow and is_taken(accelerator):
        warnings.warn(
            f"{' and '.join(slow)}: this processor has no instructions for such numbers, and a step takes ten times "
            f"as long as in float32, or more; write model.dtype=float32 trainer.precision=32-true",
            stacklevel=2,
        )
