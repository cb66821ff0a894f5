"""Writes files atomically, so that a killed stage can resume."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint of tensors and numbers atomically."""
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    """Returns the checkpoint, or None if there is none."""
    return torch.load(path, weights_only=True) if path.exists() else None


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


def replace_folder(finished: Path, target: Path) -> None:
    """Replaces a folder by a finished one."""
    if target.exists():
        shutil.rmtree(target)
    os.replace(finished, target)


class Average:
    """An exponential moving average of a module's parameters, over about the last tenth of the steps."""

    def __init__(self, module: nn.Module, longest: float = 0.999) -> None:
        self.parameters: list[Tensor] = list(module.parameters())
        self.values = [p.detach().clone() for p in self.parameters]
        self.longest = longest

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Updates the average with the parameters after `step` steps."""
        keep = min(self.longest, (step + 1) / (step + 11))
        torch._foreach_lerp_(self.values, self.parameters, 1 - keep)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the average and the module's parameters."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            mine = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(mine)

    def state(self) -> list[Tensor]:
        """Returns the averages, for a checkpoint."""
        return self.values

    def restore(self, values: list[Tensor]) -> None:
        """Restores the averages of a checkpoint."""
        for value, saved in zip(self.values, values, strict=True):
            value.copy_(saved)
