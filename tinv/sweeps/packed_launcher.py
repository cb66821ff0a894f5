"""`hydra/launcher=packed`: many points at once in one process a device, whose model calls are joined into batches.

This process stays the sweep; `tinv.training.packed` runs the points, and describes what both send each other.
"""

import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import Any, Literal

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

import tinv
from tinv.errors import UserError, require_minimum
from tinv.runs.layout import PACKED_LOG, STATUS
from tinv.runs.parent_process import GRACE_S
from tinv.runs.reader import RunReader
from tinv.runs.status import Status
from tinv.sweeps import packed_conflicts
from tinv.sweeps.child_process import ChildProcess, finalize_status
from tinv.sweeps.devices import DeviceSlot, device_slots
from tinv.sweeps.lane_table import LaneTable
from tinv.sweeps.launchers import PointLauncher, display_path, report_end, resuming_overrides
from tinv.sweeps.points import SweepPoint

_POLL_S = 0.5


class PackedLauncher(PointLauncher):
    """Runs points as lanes that share the frozen model; the next point starts when a lane is free."""

    find_conflicts = staticmethod(packed_conflicts.find_conflicts)

    def __init__(
        self,
        lanes: int | Literal["auto"] = "auto",
        memory_fraction: float = 0.9,
        timeout: float = 600.0,
        devices: Sequence[int | str] | None = None,
    ):
        """Args:
        lanes: how many points run at once on a device; `auto` is as many as fit into memory and raise the throughput.
        memory_fraction: share of the memory that `auto` may use, of a GPU or of the machine.
        timeout: seconds after which it is reported what a lane waits for.
        devices: a process for each of these devices, as in CUDA_VISIBLE_DEVICES; None is one process.
        """
        if lanes != "auto":
            require_minimum("hydra.launcher.lanes", lanes, 1, "auto measures how many fit.")
        if not 0 < memory_fraction <= 1:
            raise UserError(f"hydra.launcher.memory_fraction={memory_fraction}: must be above 0 and at most 1.")
        require_minimum("hydra.launcher.timeout", timeout, 1)
        self.lanes, self.memory_fraction, self.timeout, self.devices = lanes, memory_fraction, timeout, devices

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Finds the devices, and stores the settings."""
        self.slots = device_slots(self.devices, None) if self.devices else [DeviceSlot("")]
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Runs the points. However this ends, it leaves no process behind."""
        events: Queue[tuple[PackedWorker, dict[str, Any] | None]] = Queue()
        lanes = None if self.lanes == "auto" else self.lanes
        workers = [self._start(slot, lanes, folder, events) for slot in self.slots]
        again: deque[SweepPoint] = deque()
        try:
            with LaneTable() as table:
                while any(worker.is_open for worker in workers):
                    try:
                        worker, event = events.get(timeout=_POLL_S)
                    except Empty:
                        continue
                    if event is None:
                        ended, replacement = self._end(worker, folder, again, events)
                        workers.remove(worker)
                        workers += [replacement] if replacement else []
                        yield from ended
                    elif "free" in event:
                        worker.num_free += event["free"]
                    elif "lanes" in event:
                        table.update(worker.name, event["lanes"])
                    elif "ended" in event:
                        point, run = worker.points.pop(event["ended"]), folder / str(event["ended"])
                        status = RunReader(run).status or Status("failed", reason="left no result")
                        table.remove(point.number)
                        report_end(point, status, run)
                        yield point, status
                    for worker in workers:
                        self._feed(worker, points, again, folder)
        finally:
            self._stop_all(workers, folder)

    def _start(self, slot: DeviceSlot, lanes: int | None, folder: Path, events: "Queue[Any]") -> "PackedWorker":
        options = [f"--memory-fraction={self.memory_fraction}", f"--timeout={self.timeout}"]
        options += [f"--lanes={lanes}"] if lanes else []
        options += [f"--config-dir={self.config_dir}"] if self.config_dir else []
        return PackedWorker(slot, options, folder / PACKED_LOG, events)

    def _feed(
        self, worker: "PackedWorker", points: Iterator[SweepPoint], again: deque[SweepPoint], folder: Path
    ) -> None:
        """Gives a process points for its free lanes; closes its input after the last one."""
        while worker.num_free and not worker.is_input_closed:
            point = again.popleft() if again else next(points, None)
            if point is None:
                worker.close_input()
                return
            run = folder / str(point.number)
            (run / STATUS).unlink(missing_ok=True)
            print(f"{point.label} starts{f' on {worker.name}' if worker.name else ''}", flush=True)
            worker.send(point, [*resuming_overrides(point, folder), *self.hydra_overrides], run)

    def _end(
        self, worker: "PackedWorker", folder: Path, again: deque[SweepPoint], events: "Queue[Any]"
    ) -> tuple[list[tuple[SweepPoint, Status]], "PackedWorker | None"]:
        """Returns the points that ended with a process, and the process that takes its place.

        A process that was killed, as Linux does if memory is short, may have had too many lanes: its points go on in
        another with half as many.
        """
        worker.is_open = False
        worker.child.stop(grace_s=GRACE_S)
        points = [*worker.points.values()]
        if worker.child.poll() == 0 and not points:
            return [], None
        if not worker.has_started:
            raise UserError(
                f"hydra/launcher=packed: the process ended at once; see {display_path(folder / PACKED_LOG)}"
            )
        if worker.child.poll() == -signal.SIGKILL and len(points) > 1:
            lanes: int | None = max(1, len(points) // 2)
            print(
                f"the process with {len(points)} points was killed by SIGKILL (out of memory?); they go on from their "
                f"checkpoints in {lanes} lane{'s' * (len(points) > 3)}",
                file=sys.stderr,
                flush=True,
            )
            again.extend(points)
            return [], self._start(worker.slot, lanes, folder, events)
        ended = []
        for point in points:
            status = finalize_status(folder / str(point.number), worker.child)
            report_end(point, status, folder / str(point.number))
            ended.append((point, status))
        lanes = None if self.lanes == "auto" else self.lanes
        return ended, None if worker.is_input_closed else self._start(worker.slot, lanes, folder, events)

    def _stop_all(self, workers: "list[PackedWorker]", folder: Path) -> None:
        for worker in workers:
            worker.child.terminate()
        deadline = monotonic() + GRACE_S
        for worker in workers:
            worker.child.stop(grace_s=deadline - monotonic())
            for number in worker.points:
                finalize_status(folder / str(number), worker.child, interrupted=True)


class PackedWorker:
    """A process of `tinv.training.packed` as the sweep sees it."""

    def __init__(self, slot: DeviceSlot, options: list[str], log: Path, events: "Queue[Any]"):
        self.slot, self.name = slot, slot.name
        self.points: dict[int, SweepPoint] = {}
        self.num_free, self.is_input_closed, self.is_open, self.has_started = 0, False, True, False
        package = str(Path(tinv.__path__[0]).parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.child = ChildProcess(
            [sys.executable, "-m", "tinv.training.packed", *options],
            env={**slot.env, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            log=log,
            has_pipes=True,
        )
        threading.Thread(target=self._read, args=[events], daemon=True).start()

    def send(self, point: SweepPoint, overrides: list[str], run: Path) -> None:
        """Gives the process a point."""
        self.points[point.number] = point
        self.num_free -= 1
        message = {"point": point.number, "label": point.label, "overrides": overrides, "dir": str(run)}
        with suppress(OSError):  # it has ended, which its last event reports
            self.child.input.write(json.dumps(message) + "\n")
            self.child.input.flush()

    def close_input(self) -> None:
        """Says that there are no more points."""
        self.is_input_closed = True
        with suppress(OSError):
            self.child.input.close()

    def _read(self, events: "Queue[Any]") -> None:
        for line in self.child.output:
            self.has_started = True
            events.put((self, json.loads(line)))
        events.put((self, None))
