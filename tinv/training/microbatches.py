"""Accumulated micro-batches: computed in one forward pass where memory allows, and their mean losses for the log.

Each sample has its own caption, timestep and noise, and all micro-batches have the same length, so the mean over four
of them is the mean of their means. Only float32 rounding differs.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tinv.models.quantized_weights import stored_tensors
from tinv.types import Batch

MEMORY_SHARE = 0.5
"""Share of the free memory for saved activations; the backward pass needs the rest."""


class MicroBatchMerger:
    """Collects micro-batches until as many are there as one forward pass takes."""

    def __init__(self, limit: int | None):
        """Args:
        limit: micro-batches in a forward pass; None to measure it.
        """
        self.limit = limit
        self._waiting: list[Sequence[Batch | None]] = []

    def measure(self, compute: Callable[[], object], *, frozen: Iterable[Tensor], device: torch.device) -> None:
        """Sets the limit by `micro_batches_that_fit`, with its arguments, unless it is known."""
        if self.limit is None:
            self.limit = micro_batches_that_fit(compute, frozen=frozen, device=device)

    def add(self, batches: Sequence[Batch | None], *, is_first: bool, is_last: bool) -> list[Sequence[Batch | None]]:
        """Returns the micro-batches to compute now, `batches` the last of them; none while more are to come.

        Args:
            batches: the micro-batch of each concept.
            is_first: whether it begins an optimizer step; discards what an interrupted run has left.
            is_last: whether it completes an optimizer step.
        """
        self._waiting = [batches] if is_first else [*self._waiting, batches]
        if not is_last and len(self._waiting) < (self.limit or 1):
            return []
        due, self._waiting = self._waiting, []
        return due


class MeanLoss(NamedTuple):
    """The mean loss over samples of one concept, for the log."""

    suffix: str
    """Of the concept's metric names, such as `/cat-toy`; empty for a single concept."""
    loss: Tensor
    """[], detached."""
    num_samples: int


def mean_by_concept(name: str, means: Iterable[MeanLoss]) -> dict[str, tuple[Tensor, int]]:
    """Returns mean and number of samples for each concept as `name` + suffix, then for all samples as `name`.

    The order is the same in every process, because each mean is reduced over all processes.
    """
    means = list(means)
    groups = {name + mean.suffix: [m for m in means if m.suffix == mean.suffix] for mean in means if mean.suffix}
    return {key: _weighted_mean(group) for key, group in (groups | {name: means}).items()}


def _weighted_mean(means: Sequence[MeanLoss]) -> tuple[Tensor, int]:
    total = sum(mean.num_samples for mean in means)
    shares = [mean.loss * (mean.num_samples / total) for mean in means]
    return sum(shares[1:], start=shares[0]), total


def sum_of_mean_losses(losses: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> Tensor:
    """Returns the sum [] of the mean losses of micro-batches.

    Args:
        losses: returns the loss of each sample, [B].
        batches: micro-batches of the same length.
    """
    means = [losses(batch).mean() * (len(batch) / len(batches[0])) for batch in merge(batches)]
    return torch.stack(means).sum()


def merge(batches: Iterable[Batch]) -> list[Batch]:
    """Concatenates the batches that have the same latent size, in their order."""
    by_size: dict[torch.Size, list[Batch]] = {}
    for batch in batches:
        by_size.setdefault(batch.moments.shape, []).append(batch)
    return [_concatenate(group) if len(group) > 1 else group[0] for group in by_size.values()]


def micro_batches_that_fit(compute: Callable[[], object], *, frozen: Iterable[Tensor], device: torch.device) -> int:
    """Returns how many forward passes' activations fit into `MEMORY_SHARE` of the free memory, at least 1.

    Args:
        compute: the forward pass of one micro-batch.
        frozen: the model's weights, which are in memory already.
        device: where they are.
    """
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        compute()
    weights = {part.untyped_storage().data_ptr() for tensor in frozen for part in stored_tensors(tensor)}
    size = sum(size for pointer, size in sizes.items() if pointer not in weights)
    return max(1, int(MEMORY_SHARE * free_bytes(device) / max(size, 1)))


def free_bytes(device: torch.device) -> int:
    """Returns the free memory of a device; 0 where it is unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if device.type == "cpu" and meminfo.is_file() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)


def _concatenate(batches: Sequence[Batch]) -> Batch:
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
        noise_seeds=torch.cat([batch.noise_seeds for batch in batches]),
        index=torch.cat([batch.index for batch in batches]),
        mask=torch.cat([mask for mask in masks if mask is not None]) if masks[0] is not None else None,
    )
