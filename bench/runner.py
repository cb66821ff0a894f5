"""A training script in its own process that makes one optimizer step at a time."""

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

from bench.step_by_step import GO, STOP

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Command:
    """A script and its arguments."""

    name: str
    script: Path
    words: tuple[str, ...]


@dataclass(frozen=True)
class StepTime:
    """The duration of one step, in seconds."""

    wall: float
    cpu: float
    """Summed over all threads of the process: less affected by other programs than `wall`."""


class Runner:
    """A process that waits after each step."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], connection: Connection, first: StepTime):
        """Args:
        command: the command it runs.
        process: the process.
        connection: to the process.
        first: time from the shell to the end of the first step.
        """
        self.command, self.process, self.first = command, process, first
        self._connection = connection

    def step(self) -> StepTime:
        """Make the next step and return its duration."""
        self._connection.send(GO)
        return StepTime(*self._connection.recv())

    def stop(self) -> dict[str, int]:
        """Stop the process and return its peak memory, in MiB."""
        self._connection.send(STOP)
        return self._connection.recv()

    def finish(self) -> None:
        """After the last step: wait until the process has written its files and exited."""
        self._connection.send(GO)
        self.process.wait()


@contextmanager
def start_process(command: Command) -> Iterator[Runner]:
    """The script after its first step; its process ends with the block.

    Raises:
        SystemExit: the script failed before that; with its output.
    """
    with Listener(("localhost", 0)) as listener, tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.step_by_step", str(listener.address[1]), str(command.script), *command.words],
            cwd=ROOT,
            env={**os.environ, "TINV_TARGETS": "bench"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            listener._listener._socket.settimeout(60)  # type: ignore[attr-defined]
            with listener.accept() as connection:
                _, cpu = connection.recv()
                yield Runner(command, process, connection, StepTime(time.perf_counter() - began, cpu))
        except (EOFError, OSError) as error:
            process.wait(timeout=10)
            output.seek(0)
            text = output.read().decode(errors="replace")[-3000:]
            raise SystemExit(f"{command.name}: the run failed:\n{text}") from error
        finally:
            process.kill()
            process.wait()


def alternate_steps(runners: Sequence[Runner], *, rounds: int, warm_up: int) -> list[list[StepTime]]:
    """The step times of each runner. One step of each in a round; each round begins with another runner."""
    times: list[list[StepTime]] = [[] for _ in runners]
    for round_index in range(warm_up + rounds):
        for i in range(len(runners)):
            folder = (round_index + i) % len(runners)
            step_time = runners[folder].step()
            if round_index >= warm_up:
                times[folder].append(step_time)
    return times
