"""A frozen part that is on the training device only while it works."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import nn

Part = TypeVar("Part", bound=nn.Module)


class OffloadedModule(Generic[Part]):
    """Holds a part that waits where it was loaded, on the CPU, until it is called.

    Deliberately no Module: what Lightning does to the whole model (`to(device)`, `half()`, wrapping it for several
    processes) does not reach the part.
    """

    def __init__(self, part: Part):
        self.part = part

    @contextmanager
    def at(self, device: torch.device | str) -> Iterator[Part]:
        """The part, on the device while the block runs and then where it was before; blocks may be nested."""
        before = next(self.part.parameters()).device
        try:
            yield self.part.to(device)
        finally:
            self.part.to(before)
