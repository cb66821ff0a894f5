"""The lane of a thread: a run beside other runs of this process (`hydra/launcher=packed`)."""

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass(eq=False)
class RunLane:
    """What a run needs to know about its lane."""

    name: str
    """`point 3 (lr=0.001)`."""
    get_model: Callable[[str, Callable[[], Any]], Any]
    """Returns the lane's model, for settings and a function that loads it."""
    progress: dict[str, Any] = field(default_factory=dict)
    """The latest step and what is reported with it."""
    log: TextIO | None = None


_threads = threading.local()


def current_lane() -> RunLane | None:
    """Returns the lane of this thread, or None in a process with a single run."""
    return getattr(_threads, "lane", None)


@contextmanager
def run_in_lane(lane: RunLane, log: Path) -> Iterator[None]:
    """Makes this thread a lane while the block runs; what it prints goes to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", buffering=1) as file:
        lane.log, _threads.lane = file, lane
        try:
            yield
        finally:
            _threads.lane = None


class LaneOutput(io.TextIOBase):
    """A standard stream that writes what a lane prints into the lane's log."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._target().write(text)

    def flush(self) -> None:
        self._target().flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _target(self) -> TextIO:
        lane = current_lane()
        return lane.log if lane is not None and lane.log is not None else self._stream


def route_output() -> None:
    """Separates the output of the lanes of this process."""
    sys.stdout, sys.stderr = LaneOutput(sys.stdout), LaneOutput(sys.stderr)
