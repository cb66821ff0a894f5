"""Accumulated micro-batches, computed side by side as far as memory allows: the same sums, in fewer and larger pieces.

Every sample has its own caption, noise level and noise, and micro-batches have one length: the mean over four of them
is the mean of their means. Only the order in which float32 rounds is another.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tinv.types import Batch

SHARE = 0.5
"""Of the memory that is free: what the backward pass works with comes on top of what is kept for it."""


class MicroBatchMerger:
    """Holds micro-batches back until there are as many as are computed at once."""

    def __init__(self, at_once: int | None):
        """Args:
        at_once: how many; None as long as nobody has found out for how many there is memory.
        """
        self.at_once = at_once
        self._held: list[Sequence[Batch | None]] = []

    def take(self, micro: Sequence[Batch | None], *, is_first: bool, is_last: bool) -> list[Sequence[Batch | None]]:
        """What is to be computed now; nothing as long as more is to come.

        Args:
            micro: a micro-batch of each concept.
            is_first: whether it is the first of an optimizer step: what a run that broke off has left is forgotten.
            is_last: whether it is the last one.
        """
        self._held = [micro] if is_first else [*self._held, micro]
        if not is_last and len(self._held) < (self.at_once or 1):
            return []
        due, self._held = self._held, []
        return due


def sum_of_mean_losses(losses: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> Tensor:
    """The mean loss of each micro-batch, added up.

    Args:
        losses: gives the loss of each sample.
        batches: micro-batches of one length.
    """
    means = [losses(batch).mean() * (len(batch) / len(batches[0])) for batch in side_by_side(batches)]
    return torch.stack(means).sum()


def side_by_side(batches: Iterable[Batch]) -> list[Batch]:
    """Those of one size as one batch, in the order in which they came."""
    by_size: dict[torch.Size, list[Batch]] = {}
    for batch in batches:
        by_size.setdefault(batch.moments.shape, []).append(batch)
    return [_joined(alike) if len(alike) > 1 else alike[0] for alike in by_size.values()]


def micro_batches_that_fit(compute: Callable[[], object], *, frozen: Iterable[Tensor], device: torch.device) -> int:
    """How many times what a forward pass keeps for its backward pass fits into the memory that is free, 1 at least.

    Args:
        compute: the forward pass.
        frozen: weights, which are there in any case.
        device: whose memory counts.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    weights = {tensor.untyped_storage().data_ptr() for tensor in frozen}
    need = sum(size for place, size in kept.items() if place not in weights)
    return max(1, int(SHARE * free_bytes(device) / max(need, 1)))


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device; 0 where it cannot be told."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    told = Path("/proc/meminfo")
    lines = told.read_text().splitlines() if device.type == "cpu" and told.is_file() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)


def _joined(batches: Sequence[Batch]) -> Batch:
    masks = [batch.mask for batch in batches]
    if any(mask is not None for mask in masks):
        size = (1, *batches[0].moments.shape[2:])
        masks = [
            torch.ones(len(batch), *size, device=batch.moments.device) if mask is None else mask
            for batch, mask in zip(batches, masks, strict=True)
        ]
    return Batch(
        moments=torch.cat([batch.moments for batch in batches]),
        captions=[caption for batch in batches for caption in batch.captions],
        geometry=torch.cat([batch.geometry for batch in batches]),
        level=torch.cat([batch.level for batch in batches]),
        draws=torch.cat([batch.draws for batch in batches]),
        index=torch.cat([batch.index for batch in batches]),
        mask=torch.cat([mask for mask in masks if mask is not None]) if masks[0] is not None else None,
    )
