"""Where the time of a run goes: by the clock, and of the processor.

The clock also counts what other programs of a crowded machine take; the processor's time is this process's own, of all
its threads, and does not know what a GPU does meanwhile.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any


@dataclass(frozen=True)
class Time:
    """A moment, or how long something took, in seconds."""

    clock: float = 0.0
    processor: float = 0.0

    @classmethod
    def now(cls) -> "Time":
        """This moment; only differences mean something."""
        return cls(perf_counter(), process_time())

    def __add__(self, other: "Time") -> "Time":
        return Time(self.clock + other.clock, self.processor + other.processor)

    def __sub__(self, other: "Time") -> "Time":
        return Time(self.clock - other.clock, self.processor - other.processor)


class Stopwatch:
    """Adds up time by phase: `with stopwatch("sampling"): ...`."""

    def __init__(self) -> None:
        self.times: dict[str, Time] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """The time that the block takes belongs to the phase, also when it fails."""
        start = Time.now()
        try:
            yield
        finally:
            self.add(phase, Time.now() - start)

    def add(self, phase: str, time: Time) -> None:
        """More time of a phase."""
        self.times[phase] = self.times.get(phase, Time()) + time


def stopwatches(owners: Iterable[Any]) -> list[Stopwatch]:
    """The stopwatches of those that have one."""
    return [owner.stopwatch for owner in owners if isinstance(getattr(owner, "stopwatch", None), Stopwatch)]


def phase(callbacks: Iterable[Any], name: str) -> AbstractContextManager[None]:
    """Times a block on the first stopwatch among the callbacks; the run card adds up all of them."""
    found = stopwatches(callbacks)
    return found[0](name) if found else nullcontext()


def add_up(owners: Iterable[Any]) -> Stopwatch:
    """One stopwatch with the times of all."""
    total = Stopwatch()
    for stopwatch in stopwatches(owners):
        for name, time in stopwatch.times.items():
            total.add(name, time)
    return total
