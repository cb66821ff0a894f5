"""The seam between sweepers and launchers.

A new launcher is one file `<name>_launcher.py` here, with a subclass of `PointLauncher` that has `stream`, `queue` or
both, and one YAML file in conf/hydra/launcher.
"""

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.errors import UserError, error_message
from tinv.runs.files import write_error
from tinv.runs.layout import LOG, STATUS, list_checkpoints
from tinv.runs.reader import RunReader
from tinv.runs.resume import AUTO, choose_run_dir
from tinv.runs.status import Status
from tinv.sweeps.child_process import quote_path, user_config_dir
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results_table import format_duration

_OF_THE_SWEEP = ("hydra/", "hydra.launcher", "hydra.sweeper", "hydra.sweep.", "hydra.mode", "hydra.run.")
"""Hydra's settings that a point does not get from the command."""


@runtime_checkable
class Streaming(Protocol):
    """A launcher that takes the next point when it has room for it, and yields each point when it has ended."""

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Runs each point in its own folder below `folder`."""
        ...


@runtime_checkable
class Queueing(Protocol):
    """A launcher with a queue behind it, which takes all points of a grid at once."""

    def queue(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Runs each point in its own folder below `folder`."""
        ...


class PointLauncher(Launcher):
    """Base class of launchers that are `Streaming` or `Queueing`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Stores the settings that a launcher needs. Check settings before: this makes the sweep's folder."""
        self.folder = choose_sweep_dir(config)
        self.config_dir = user_config_dir(config.hydra)
        self.hydra_overrides = [text for text in config.hydra.overrides.hydra if not text.startswith(_OF_THE_SWEEP)]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs points for a sweeper of another package, which knows only this method of Hydra's launchers."""
        points = [SweepPoint(initial_job_idx + i, tuple(overrides)) for i, overrides in enumerate(job_overrides)]
        runs = run_points(self, iter(points), self.folder, batch_size=None)
        statuses = {point.number: status for point, status in runs}
        return [_job_return(point, statuses[point.number]) for point in points]


def choose_sweep_dir(config: DictConfig) -> Path:
    """Returns the folder of a sweep whose settings are checked: for `auto`, a new one or that of the resumed sweep."""
    if config.hydra.sweep.dir == AUTO:
        config.hydra.sweep.dir = config.sweep.resume or choose_run_dir(config.paths.root_dir, config.name)
    return Path(config.hydra.sweep.dir)


def run_points(
    launcher: Launcher, points: Iterator[SweepPoint], folder: Path, *, batch_size: int | None
) -> Generator[tuple[SweepPoint, Status], None, None]:
    """Runs points with any launcher and yields each one when it has ended.

    Args:
        launcher: one of tinv's, Hydra's own, or another package's.
        points: consumed as the launcher has room, so that later points can depend on earlier results.
        folder: the sweep's folder.
        batch_size: how many points another package's launcher gets at once; None is all of them.
    """
    if batch_size is None and isinstance(launcher, Queueing):
        yield from launcher.queue(points, folder)
        return
    if isinstance(launcher, Streaming):
        yield from launcher.stream(points, folder)
        return
    if type(launcher).__name__ == "BasicLauncher":  # Hydra imports its plugins twice, so isinstance() would be False
        batch_size = 1
    while batch := list(islice(points, batch_size)):
        for point in batch:
            with suppress(FileNotFoundError):
                (folder / str(point.number) / STATUS).unlink()
            if batch_size == 1:
                print(f"\n{point.label}", flush=True)
        jobs: list[JobReturn] = []
        reason = "was not run"
        subfolders = [[f"hydra.sweep.dir={quote_path(folder)}", f"hydra.sweep.subdir={p.number}"] for p in batch]
        overrides = [[*resuming_overrides(p, folder), *extra] for p, extra in zip(batch, subfolders, strict=True)]
        try:
            jobs = list(launcher.launch(overrides, batch[0].number))
        except OSError as error:
            reason = str(write_error(folder, error))
        except Exception as error:
            reason = error_message(error)
        for i, point in enumerate(batch):
            yield point, _status(folder / str(point.number), jobs[i] if i < len(jobs) else None, reason)


def resuming_overrides(point: SweepPoint, folder: Path) -> list[str]:
    """Returns a point's overrides; a point that has checkpoints resumes from the newest, if any is intact."""
    return [*point.overrides, *([f"resume={AUTO}"] if list_checkpoints(folder / str(point.number)) else [])]


def report_failure(point: SweepPoint, status: Status) -> None:
    """Prints at once that a point failed."""
    if status.status == "failed":
        sys.stdout.flush()
        print(f"{point.label}: {status.reason}", file=sys.stderr, flush=True)


def report_end(point: SweepPoint, status: Status, run: Path) -> None:
    """Prints how a point ended that ran in another process."""
    value = "" if status.value is None else f" with {status.value:.6g}"
    restarts = f", restarted {status.restarts}x" if status.restarts else ""
    log = "" if status.status == "done" else f"; see {display_path(run / LOG)}"
    print(f"{point.label} {status.status}{value} after {format_duration(status.seconds)}{restarts}{log}", flush=True)


def display_path(path: Path) -> str:
    """Returns a path relative to the working directory if it is below it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _job_return(point: SweepPoint, status: Status) -> JobReturn:
    """How a point ended, in Hydra's terms."""
    job = JobReturn(overrides=point.overrides)
    job.status = JobStatus.COMPLETED if status.status == "done" else JobStatus.FAILED
    job.return_value = status.value if status.status == "done" else UserError(status.reason or status.status)
    return job


def _status(run: Path, job: JobReturn | None, reason: str) -> Status:
    """The status that the point wrote itself; without one, what its launcher reports."""
    status = RunReader(run).status
    if status is not None and status.has_ended:
        return status
    if job is None or job.status == JobStatus.UNKNOWN:
        return Status("failed", reason=reason)
    if job.status == JobStatus.FAILED:
        return Status("failed", reason=error_message(job._return_value))
    return Status("done", value=job.return_value if isinstance(job.return_value, float) else None)
