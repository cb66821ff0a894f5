"""Mean losses as they are logged: of each concept, and of all of them."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor


class Mean(NamedTuple):
    """Of some samples of a concept."""

    suffix: str  # of the concept's name in logs; empty where it is the only one
    loss: Tensor  # [], detached
    samples: int


def by_name(name: str, means: Iterable[Mean]) -> dict[str, tuple[Tensor, int]]:
    """The mean over all samples of each concept, called `name` and its suffix, then that over all samples, `name`.

    The order is the same in every process, since each of these means is one over all processes.
    """
    found = list(means)
    groups = {name + mean.suffix: [one for one in found if one.suffix == mean.suffix] for mean in found if mean.suffix}
    return {key: _over(group) for key, group in (groups | {name: found}).items()}


def _over(means: Iterable[Mean]) -> tuple[Tensor, int]:
    losses, counts = zip(*((mean.loss, mean.samples) for mean in means), strict=True)
    total = sum(counts)
    shares = [loss * (count / total) for loss, count in zip(losses, counts, strict=True)]
    return sum(shares[1:], start=shares[0]), total
