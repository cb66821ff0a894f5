"""From points to launchers, and back as they end."""

import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from tinv.errors import UserError
from tinv.runs.layout import STATUS, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.status import Status
from tinv.sweeps.child_process import quoted
from tinv.sweeps.points import SweepPoint


@runtime_checkable
class Streaming(Protocol):
    """A launcher that takes the next point when it has room for one, and gives each back when it has ended."""

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Run the points, each in its own folder below `folder`."""
        ...


@runtime_checkable
class Queueing(Protocol):
    """A launcher that has a queue behind it, and takes all points at once where all are known."""

    def queue(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Run the points, each in its own folder below `folder`."""
        ...


def run_points(
    launcher: Launcher, points: Iterator[SweepPoint], folder: Path, *, batch_size: int | None
) -> Generator[tuple[SweepPoint, Status], None, None]:
    """Run the points with any launcher of Hydra's; each comes back when it has ended.

    Args:
        launcher: one of ours, Hydra's own, or a plugin's.
        points: taken as there is room for them, so that later ones can depend on how earlier ones ended.
        folder: the sweep's.
        batch_size: how many a plugin's launcher gets at once; None is all of them.
    """
    if batch_size is None and isinstance(launcher, Queueing):
        yield from launcher.queue(points, folder)
        return
    if isinstance(launcher, Streaming):
        yield from launcher.stream(points, folder)
        return
    if type(launcher).__name__ == "BasicLauncher":  # Hydra loads its own plugins twice, so isinstance would say no
        batch_size = 1
    while batch := list(islice(points, batch_size)):
        for point in batch:
            with suppress(FileNotFoundError):
                (folder / str(point.number) / STATUS).unlink()
            if batch_size == 1:
                print(f"\n{point.label}", flush=True)
        returned: list[JobReturn] = []
        reason = "was not run"
        try:
            returned = list(launcher.launch([in_sweep(point, folder) for point in batch], batch[0].number))
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        for i, point in enumerate(batch):
            job = returned[i] if i < len(returned) else None
            yield point, _outcome(folder / str(point.number), job, reason)


def in_sweep(point: SweepPoint, folder: Path) -> list[str]:
    """A point's overrides, with its place in the sweep's folder."""
    place = [f"hydra.sweep.dir={quoted(folder)}", f"hydra.sweep.subdir={point.number}"]
    return [*goes_on(point, folder), *place]


def goes_on(point: SweepPoint, folder: Path) -> list[str]:
    """A point's overrides; one that has checkpoints from before goes on from the newest."""
    run = folder / str(point.number)
    return [*point.overrides, *([f"resume={quoted(run)}"] if list_checkpoints(run) else [])]


def as_returned(point: SweepPoint, status: Status) -> JobReturn:
    """How a point ended, in Hydra's terms."""
    returned = JobReturn(overrides=point.overrides)
    returned.status = JobStatus.COMPLETED if status.status == "done" else JobStatus.FAILED
    returned.return_value = status.value if status.status == "done" else UserError(status.reason or status.status)
    return returned


def report_failure(point: SweepPoint, status: Status) -> None:
    """Say at once that a point failed."""
    if status.status == "failed":
        sys.stdout.flush()
        print(f"{point.label}: {status.reason}", file=sys.stderr, flush=True)


def _outcome(run: Path, job: JobReturn | None, reason: str) -> Status:
    """The point's own word; without it, what the launcher has to say."""
    status = RunReader(run).status
    if status is not None and status.has_ended:
        return status
    if job is None or job.status == JobStatus.UNKNOWN:
        return Status("failed", reason=reason)
    if job.status == JobStatus.FAILED:
        return Status("failed", reason=f"{type(job._return_value).__name__}: {job._return_value}")
    return Status("done", value=job.return_value if isinstance(job.return_value, float) else None)
