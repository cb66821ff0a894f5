"""A training script in a process of its own, which takes one step at a time."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from bench.paced import GO, STOP

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Command:
    """What is measured: a script and its words."""

    name: str
    script: Path
    words: tuple[str, ...]


@dataclass(frozen=True)
class Lap:
    """What one step took, in seconds."""

    wall: float
    cpu: float
    """Of all threads of the process: where others share the machine, this is the steadier of the two."""


class Runner:
    """One script, waiting after a step."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], connection: Connection, first: Lap):
        """Args:
        command: what runs.
        process: in which it runs.
        connection: to the process.
        first: from the shell to the end of the first step.
        """
        self.command, self.process, self.first = command, process, first
        self._connection = connection

    def step(self) -> Lap:
        """Let it take the next step."""
        self._connection.send(GO)
        return Lap(*self._connection.recv())

    def stop(self) -> dict[str, int]:
        """End it, and say how much memory it took at most, in MiB."""
        self._connection.send(STOP)
        return self._connection.recv()

    def finish(self) -> None:
        """Wait until it has written its files and ended; it is behind its last step."""
        self._connection.send(GO)
        self.process.wait()


@contextmanager
def started(command: Command) -> Iterator[Runner]:
    """The script after its first step; whatever happens in the block, its process ends with it.

    Raises:
        SystemExit: the script failed before that; with what it said.
    """
    with Listener(("localhost", 0)) as listener, tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.paced", str(listener.address[1]), str(command.script), *command.words],
            cwd=ROOT,
            env={**os.environ, "TINV_TARGETS": "bench"},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            listener._listener._socket.settimeout(60)  # type: ignore[attr-defined]
            with listener.accept() as connection:
                _, cpu = connection.recv()
                yield Runner(command, process, connection, Lap(time.perf_counter() - began, cpu))
        except (EOFError, OSError) as error:
            process.wait(timeout=10)
            said.seek(0)
            text = said.read().decode(errors="replace")[-3000:]
            raise SystemExit(f"{command.name}: the run failed:\n{text}") from error
        finally:
            process.kill()
            process.wait()


def laps(runners: Sequence[Runner], *, rounds: int, warm_up: int) -> list[list[Lap]]:
    """The steps of each, taken in turns: one each round, and each round begins with another one."""
    taken: list[list[Lap]] = [[] for _ in runners]
    for turn in range(warm_up + rounds):
        for i in range(len(runners)):
            place = (turn + i) % len(runners)
            lap = runners[place].step()
            if turn >= warm_up:
                taken[place].append(lap)
    return taken
