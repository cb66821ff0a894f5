"""The learning rate and the random generator of each step."""

import torch


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 100, decay: float = 0.2) -> float:
    """Returns a learning rate that warms up, stays at the peak, and decays to zero over the last share `decay`.

    Only the decay depends on the number of steps, so a stage can be extended.
    """
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (steps - step) / max(1.0, decay * steps))
    return peak * rise * max(0.0, fall)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the learning rate of every group to its peak times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def generator(seed: int, step: int) -> torch.Generator:
    """Returns the random generator of a step, a function of the seed and the step, so that resuming changes nothing."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
