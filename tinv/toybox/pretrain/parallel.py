"""Several processes on one batch: `torchrun --nproc-per-node 2 -m tinv.toybox.pretrain ...`.

Each process takes its share of every batch and the gradients are averaged, so the model is the same on all of them and
does not depend on how many there are. On a CPU, processes of one thread each wait for one another once a step, not
once an operation as threads do; where others use the machine too, that is worth a factor of two.
"""

import os

import torch
from torch import Tensor, distributed, nn


def rank() -> int:
    """The number of this process."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def join(device: str) -> None:
    """Meet the other processes, if torchrun started any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def share(batch: Tensor) -> Tensor:
    """This process's share of a batch."""
    return batch[rank() :: size()]


def mean(value: Tensor) -> float:
    """The mean of a number over all processes."""
    total = value.detach().clone()
    if size() > 1:
        distributed.all_reduce(total)
    return float(total) / size()


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Give every process the mean of all gradients."""
    if size() == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
