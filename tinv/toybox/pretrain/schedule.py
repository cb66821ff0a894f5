"""When a stage learns how fast, and what it draws at each step."""

import torch


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 100, decay: float = 0.2) -> float:
    """Warm up, stay at the peak, and fall to zero over the last share `decay`.

    The level middle is what lets a stage be prolonged: only the end depends on how long it is.
    """
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (steps - step) / max(1.0, decay * steps))
    return peak * rise * max(0.0, fall)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale the rate of every group relative to the rate it was made with."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step: a function of the seed and the step, so that resuming changes nothing."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
