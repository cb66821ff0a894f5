"""`hydra/launcher=gpus`: several points at once, each in a process of its own on a device of its own."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import FrameType

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.runs.layout import LOG, STATUS
from tinv.runs.status import Status
from tinv.sweeps.child_process import GRACE_S, ChildProcess, command, finalize_status
from tinv.sweeps.devices import DeviceSlot, slots
from tinv.sweeps.launchers import as_returned, goes_on
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results_table import format_duration
from tinv.sweeps.subprocess_run import config_dir

"""What a point says, in its own folder."""
TICK_S = 0.1


class GpuLauncher(Launcher):
    """As many runs at once as there are slots; the next point starts when one of them is free."""

    def __init__(self, devices: Sequence[int | str] | None = None, n_jobs: int | None = None):
        """Args:
        devices: as CUDA_VISIBLE_DEVICES counts or names them; None is all that there are.
        jobs: how many runs at once; None is as many as there are devices, on the CPU one for each four cores.
        """
        self.devices, self.n_jobs = devices, n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take from Hydra what a launcher needs."""
        self.slots = slots(self.devices, self.n_jobs)
        self.folder = Path(config.hydra.sweep.dir)
        self.config_dir = config_dir(config.hydra)
        self.hydra_overrides = [text for text in config.hydra.overrides.hydra if not text.startswith(OURS)]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's way of launching, for sweepers that know no other."""
        points = [SweepPoint(initial_job_idx + i, tuple(overrides)) for i, overrides in enumerate(job_overrides)]
        ended = {point.number: status for point, status in self.stream(iter(points), self.folder)}
        return [as_returned(point, ended[point.number]) for point in points]

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Run the points; when this ends, however it ends, none of their processes is left."""
        free, running = list(self.slots), dict[int, tuple[DeviceSlot, SweepPoint, ChildProcess]]()
        is_last = False
        with _sigterm_as_exit():
            try:
                while True:
                    while free and not is_last:
                        point = next(points, None)
                        if is_last := point is None:
                            break
                        running[point.number] = (slot := free.pop(0), point, self._start(point, folder, slot))
                    if not running:
                        return
                    ended = [number for number, (_, _, child) in running.items() if child.poll() is not None]
                    for number in ended:
                        slot, point, child = running.pop(number)
                        free.append(slot)
                        yield point, self._finish(point, folder, child)
                    if not ended:
                        sleep(TICK_S)
            finally:
                self._end([(point, child) for _, point, child in running.values()], folder)

    def _start(self, point: SweepPoint, folder: Path, slot: DeviceSlot) -> ChildProcess:
        run = folder / str(point.number)
        (run / STATUS).unlink(missing_ok=True)
        print(f"{point.label} starts on {slot.name}", flush=True)
        overrides = [*goes_on(point, folder), *self.hydra_overrides]
        env = {**slot.env, "PYTHONUNBUFFERED": "1"}
        return ChildProcess(command(overrides, run, config_dir=self.config_dir), env=env, log=run / LOG)

    def _finish(self, point: SweepPoint, folder: Path, child: ChildProcess) -> Status:
        run = folder / str(point.number)
        child.end(grace_s=0)
        status = finalize_status(run, child)
        value = "" if status.value is None else f" with {status.value:.6g}"
        more = "" if status.status == "done" else f"; see {run / LOG}"
        print(f"{point.label} {status.status}{value} after {format_duration(child.seconds)}{more}", flush=True)
        return status

    def _end(self, left: Sequence[tuple[SweepPoint, ChildProcess]], folder: Path) -> None:
        for _, child in left:
            child.ask_to_end()
        until = monotonic() + GRACE_S
        for point, child in left:
            child.end(grace_s=until - monotonic())
            finalize_status(folder / str(point.number), child, interrupted=True)


OURS = ("hydra/", "hydra.launcher", "hydra.sweeper", "hydra.sweep.", "hydra.mode", "hydra.run.")
"""Hydra's settings that are the sweep's, not a point's."""


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Leave in order on SIGTERM, too; otherwise the runs would go on without anybody."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
