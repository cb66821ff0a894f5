"""Wall-clock time and CPU time of the phases of a run.

Wall-clock time depends on other processes of the machine. CPU time counts all threads of this process and nothing
that a GPU does.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from time import perf_counter, process_time
from typing import Any


@dataclass(frozen=True)
class Time:
    """A point in time or a duration, in seconds."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> "Time":
        """Returns the current time; only differences are meaningful."""
        return cls(perf_counter(), process_time())

    def __add__(self, other: "Time") -> "Time":
        return Time(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: "Time") -> "Time":
        return Time(self.wall - other.wall, self.cpu - other.cpu)


class Stopwatch:
    """Adds up time by phase: `with stopwatch("sampling"): ...`."""

    def __init__(self) -> None:
        self.times: dict[str, Time] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Adds the time of the block to a phase, also if the block raises."""
        start = Time.now()
        try:
            yield
        finally:
            self.add(phase, Time.now() - start)

    def add(self, phase: str, time: Time) -> None:
        """Adds a duration to a phase."""
        self.times[phase] = self.times.get(phase, Time()) + time


def time_phase(callbacks: Iterable[Any], phase: str) -> AbstractContextManager[None]:
    """Times a block with the stopwatch of the first callback that has one; the run card adds up all of them."""
    return next((stopwatch(phase) for stopwatch in _stopwatches(callbacks)), nullcontext())


def total_times(callbacks: Iterable[Any]) -> dict[str, Time]:
    """Returns the time of each phase, summed over the callbacks."""
    total = Stopwatch()
    for phase, time in chain(*(stopwatch.times.items() for stopwatch in _stopwatches(callbacks))):
        total.add(phase, time)
    return total.times


def _stopwatches(callbacks: Iterable[Any]) -> Iterator[Stopwatch]:
    return (callback.stopwatch for callback in callbacks if isinstance(getattr(callback, "stopwatch", None), Stopwatch))
