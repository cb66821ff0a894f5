"""Data parallelism: `torchrun --nproc-per-node 2 -m tinv.toybox.pretrain ...`.

Each process computes its share of every batch and the gradients are averaged, so the model does not depend on the
number of processes. On a CPU, single-threaded processes synchronize once a step and threads once an operation; on a
machine with other load, processes are twice as fast.
"""

import os

import torch
from torch import Tensor, distributed, nn


def rank() -> int:
    """Returns the rank of this process."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Returns the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def join(device: str) -> None:
    """Initializes the process group if torchrun started several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def wait() -> None:
    """Waits until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def share(batch: Tensor) -> Tensor:
    """Returns this process's share of a batch."""
    return batch[rank() :: size()]


def mean(value: Tensor) -> float:
    """Returns the mean of a number over all processes."""
    total = value.detach().clone()
    if size() > 1:
        distributed.all_reduce(total)
    return float(total) / size()


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Averages the gradients over all processes."""
    if size() == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
