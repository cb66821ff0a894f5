"""`hydra/launcher=gpus`: several points at once, each in its own process on its own device."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.runs.layout import LOG, STATUS
from tinv.runs.parent_process import GRACE_S
from tinv.runs.status import Status
from tinv.sweeps.child_process import ChildProcess, finalize_status, point_command
from tinv.sweeps.devices import DeviceSlot, device_slots
from tinv.sweeps.launchers import PointLauncher, report_end, resuming_overrides
from tinv.sweeps.points import SweepPoint

POLL_S = 0.1


class GpuLauncher(PointLauncher):
    """Runs as many points at once as there are slots; the next point starts when a slot is free."""

    def __init__(self, devices: Sequence[int | str] | None = None, n_jobs: int | None = None):
        """Args:
        devices: the devices to use, as in CUDA_VISIBLE_DEVICES; None is all of them.
        n_jobs: how many points run at once; None is one for each device, or on the CPU one for each four cores.
        """
        self.devices, self.n_jobs = devices, n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Finds the devices, and stores the settings."""
        self.slots = device_slots(self.devices, self.n_jobs)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Runs the points. However this ends, it leaves none of their processes behind."""
        free, running = list(self.slots), dict[int, tuple[DeviceSlot, SweepPoint, ChildProcess]]()
        is_last = False
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
                    child.stop(grace_s=0)
                    status = finalize_status(folder / str(number), child)
                    report_end(point, status, folder / str(number))
                    yield point, status
                if not ended:
                    sleep(POLL_S)
        finally:
            _stop_all({folder / str(number): child for number, (_, _, child) in running.items()})

    def _start(self, point: SweepPoint, folder: Path, slot: DeviceSlot) -> ChildProcess:
        run = folder / str(point.number)
        (run / STATUS).unlink(missing_ok=True)
        print(f"{point.label} starts on {slot.name}", flush=True)
        overrides = [*resuming_overrides(point, folder), *self.hydra_overrides]
        env = {**slot.env, "PYTHONUNBUFFERED": "1"}
        return ChildProcess(point_command(overrides, run, config_dir=self.config_dir), env=env, log=run / LOG)


def _stop_all(children: dict[Path, ChildProcess]) -> None:
    for child in children.values():
        child.terminate()
    deadline = monotonic() + GRACE_S
    for run, child in children.items():
        child.stop(grace_s=deadline - monotonic())
        finalize_status(run, child, interrupted=True)
