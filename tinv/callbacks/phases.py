"""Where the time of a run goes."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Any


class Stopwatch:
    """Adds up seconds by phase: `with stopwatch("sampling"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """The time that the block takes belongs to the phase, also when it fails."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + perf_counter() - start


def stopwatches(owners: Iterable[Any]) -> list[Stopwatch]:
    """The stopwatches of those that have one."""
    return [owner.stopwatch for owner in owners if isinstance(getattr(owner, "stopwatch", None), Stopwatch)]


def phase(callbacks: Iterable[Any], name: str) -> AbstractContextManager[None]:
    """Times a block on the first stopwatch among the callbacks; the run card adds up all of them."""
    found = stopwatches(callbacks)
    return found[0](name) if found else nullcontext()


def add_up(owners: Iterable[Any]) -> dict[str, float]:
    """Seconds by phase over all stopwatches."""
    total: dict[str, float] = {}
    for stopwatch in stopwatches(owners):
        for name, seconds in stopwatch.seconds.items():
            total[name] = total.get(name, 0.0) + seconds
    return total
