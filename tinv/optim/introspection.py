"""The rows as an optimizer wants them read, where it steps others.

Schedule-free optimizers (Defazio et al. 2024, arXiv 2405.15682) take gradients at one point and learn at another: an
average, which their `eval()` puts into the parameters and `train()` takes out again.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer


def has_eval_mode(optimizer: Any) -> bool:
    """Whether what is learned differs from what is stepped."""
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))


@contextmanager
def eval_mode(optimizer: Optimizer) -> Iterator[None]:
    """Inside the block the parameters are those to be read; after it they are, to the last bit, those to be stepped.

    `train()` alone would undo `eval()` up to rounding only, and a run that is looked at would learn other rows.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    stepped = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[attr-defined]
        for parameter, rows in zip(parameters, stepped, strict=True):
            parameter.data.copy_(rows)


def inspect_factory(factory: Any) -> tuple[str, dict[str, Any]]:
    """The name of what a factory builds, and the settings that it has been given, the outermost winning."""
    settings: dict[str, Any] = {}
    while isinstance(factory, functools.partial):
        settings = {**factory.keywords, **settings}
        factory = factory.func
    return getattr(factory, "__name__", type(factory).__name__), settings
