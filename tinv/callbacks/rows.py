"""The learned rows, set aside."""

from typing import Any

from torch import Tensor


def copy_rows(pl_module: Any) -> dict[str, Tensor]:
    """The rows [K, D] by name, as they are now, on the CPU."""
    return {name: rows.detach().cpu().clone() for name, rows in pl_module.named_vectors().items()}
