"""What the training loop asks of any optimizer: its settings, and the averaged parameters of schedule-free ones.

Schedule-free optimizers (Defazio et al. 2024, arXiv 2405.15682) compute gradients at one point and return another, an
average: `eval()` puts the average into the parameters, `train()` takes it out again.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer


def has_eval_mode(optimizer: Any) -> bool:
    """Whether the optimizer averages the parameters itself."""
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))


@contextmanager
def eval_mode(optimizer: Optimizer) -> Iterator[None]:
    """Inside the block the parameters are the averaged ones; after it they are restored to the last bit.

    `train()` alone undoes `eval()` only up to rounding, so evaluating would change the run.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[attr-defined]
        for parameter, values in zip(parameters, saved, strict=True):
            parameter.data.copy_(values)


def inspect_factory(factory: Any) -> tuple[str, dict[str, Any]]:
    """Returns the name of what a `_partial_` node builds, and its settings."""
    settings: dict[str, Any] = {}
    while isinstance(factory, functools.partial):
        settings = {**factory.keywords, **settings}
        factory = factory.func
    return getattr(factory, "__name__", type(factory).__name__), settings
