"""`hydra/launcher=slurm`: each point as a task of a job array, in a folder that is settled when it is submitted."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.errors import UserError
from tinv.runs.layout import LOG
from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.resume import AUTO
from tinv.runs.status import Status
from tinv.sweeps.child_process import quoted
from tinv.sweeps.code_snapshot import CodeSnapshot, take
from tinv.sweeps.gpu_launcher import OURS
from tinv.sweeps.launchers import as_returned
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.results_table import format_duration
from tinv.sweeps.slurm_preflight import check_job_shape
from tinv.sweeps.slurm_queue import QueueEntry, QueueMonitor, cancel, entries, submit
from tinv.sweeps.slurm_script import batch_script, job_options
from tinv.sweeps.subprocess_run import config_dir

GONE_AFTER = 3
"""A run whose job has ended may still be on its way through a network's file system: looked for so many times."""


class SlurmLauncher(Launcher):
    """Submits, and then only looks: at the runs' own files, and at the queue for those that died without a word."""

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        timeout_min: int = 240,
        signal_delay_s: int = 180,
        nodes: int = 1,
        tasks_per_node: int = 1,
        gpus_per_node: int | str | None = None,
        cpus_per_task: int = 4,
        mem_gb: float | None = 16,
        array_parallelism: int = 16,
        options: Mapping[str, str | int | None] | None = None,
        setup: Sequence[str] = (),
        python: str | None = None,
        wait: bool = True,
        poll_s: float = 10.0,
    ):
        """Args:
        partition: None is the cluster's default.
        account: None is the user's default.
        timeout_min: of a session; a run that needs longer is saved and requeued.
        signal_delay_s: so long before the time limit it is told: one step, one sheet of samples, and a margin.
        nodes: of each run; `trainer.num_nodes`.
        tasks_per_node: processes on each; `trainer.devices`.
        gpus_per_node: a number, or `a100:2`.
        cpus_per_task: cores of each process.
        mem_gb: of each node; None is the cluster's default.
        array_parallelism: how many run at once.
        options: further options of sbatch, as `{qos: long, constraint: a100}`.
        setup: lines of shell before the run, as `["module load cuda"]`.
        python: the interpreter there; None is this one.
        wait: for the runs to end; otherwise only submit.
        poll_s: seconds between two looks.
        """
        if timeout_min * 60 <= signal_delay_s:
            raise UserError(
                f"hydra.launcher.signal_delay_s={signal_delay_s} is as long as a whole session "
                f"(hydra.launcher.timeout_min={timeout_min}); set it well below {timeout_min * 60}"
            )
        further = dict(options or {})
        if mem_gb is not None and (others := sorted({"mem-per-cpu", "mem-per-gpu"} & further.keys())):
            raise UserError(
                f"hydra.launcher.mem_gb={mem_gb} and hydra.launcher.options.{others[0]} are two limits of the same "
                f"memory; set hydra.launcher.mem_gb=null, or leave out the other"
            )
        if array_parallelism < 1:
            raise UserError(f"hydra.launcher.array_parallelism must be 1 or more, got {array_parallelism}")
        self.options = job_options(
            partition=partition,
            account=account,
            time=timeout_min,
            signal=f"USR2@{signal_delay_s}",
            nodes=nodes,
            tasks_per_node=tasks_per_node,
            gpus_per_node=gpus_per_node,
            cpus_per_task=cpus_per_task,
            mem_gb=mem_gb,
            further=further,
        )
        self.shape: dict[str, Any] = {
            "nodes": nodes,
            "tasks_per_node": tasks_per_node,
            "gpus_per_node": gpus_per_node,
            "gpus_elsewhere": any(name.startswith(("gres", "gpus")) for name in further),
        }
        self.cpus_per_task, self.at_once = cpus_per_task, array_parallelism
        self.lines, self.python, self.wait, self.poll_s = list(setup), python or sys.executable, wait, poll_s

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take from Hydra what a launcher needs, and refuse what cannot run."""
        check_job_shape(config.trainer, **self.shape)
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.name, self.config_dir = str(config.name), config_dir(config.hydra)
        self.stops = config.sweep.on_failure == "stop"
        self.hydra_overrides = [text for text in config.hydra.overrides.hydra if not text.startswith(OURS)]
        if self.stops and not self.wait:
            raise UserError("sweep.on_failure=stop needs somebody who waits for the points; leave one of them out")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's way of launching, for sweepers that know no other."""
        points = [SweepPoint(initial_job_idx + i, tuple(overrides)) for i, overrides in enumerate(job_overrides)]
        ended = {point.number: status for point, status in self.queue(iter(points), self.folder)}
        return [as_returned(point, ended[point.number]) for point in points]

    def queue(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Submit all points together; each comes back when it has ended, or none does if nobody is to wait."""
        yield from self._run(points, folder.absolute(), room=self.at_once if self.stops else None)

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Submit a point when there is room for it, for it may depend on how others have ended."""
        if not self.wait:
            raise UserError("hydra.launcher.wait=false: a search looks at how its points end; leave it out")
        yield from self._run(points, folder.absolute(), room=self.at_once)

    def _run(
        self, points: Iterator[SweepPoint], folder: Path, *, room: int | None
    ) -> Iterator[tuple[SweepPoint, Status]]:
        watch, running, missed = QueueMonitor(), dict[str, SweepPoint](), dict[str, int]()
        is_last = False
        try:
            while running or not is_last:
                new: list[SweepPoint] = []
                while not is_last and (room is None or len(running) + len(new) < room):
                    point = next(points, None)
                    if is_last := point is None:
                        break
                    new.append(point)
                running |= self._submit(new, folder)
                if not self.wait:
                    return
                time.sleep(self.poll_s if running else 0)
                found = watch.look()
                for job, point in list(running.items()):
                    status = RunReader(folder / str(point.number)).status
                    if not _has_the_last_word(status, found, job):
                        missed[job] = missed.get(job, 0) + 1 if found is not None and _is_gone(found.get(job)) else 0
                        if missed[job] < GONE_AFTER:
                            continue
                        status = self._died(folder / str(point.number), job, (found or {}).get(job))
                    assert status is not None
                    del running[job]
                    _say(point, status, folder)
                    yield point, status
        except KeyboardInterrupt:
            if running:
                print(
                    f"\nthe jobs go on. How they stand: tinv status {self.folder}; to wait for them again: "
                    f"sweep.resume={self.folder}; to end them: scancel {' '.join(_arrays(running))}",
                    flush=True,
                )
            raise

    def _submit(self, points: Sequence[SweepPoint], folder: Path) -> dict[str, SweepPoint]:
        """Put points into the queue, by job; those that are there already, from an earlier command, stay there."""
        if not points:
            return {}
        waiting = {job: entry for job, entry in entries().items() if entry.comment == str(folder) and not entry.is_over}
        there = {int(job.rpartition("_")[2]): job for job in waiting}
        known = {there[point.number]: point for point in points if point.number in there}
        for job, point in known.items():
            print(f"{point.label} is job {job} already", flush=True)
        new = [point for point in points if point.number not in there]
        if not new:
            return known
        source = take(folder, config_dir=self.config_dir)
        commands = {point.number: self._command(point, folder, source) for point in new}
        script = folder / "slurm" / f"points_{'-'.join(dict.fromkeys(str(p.number) for p in (new[0], new[-1])))}.sh"
        text = batch_script(commands, cpus_per_task=self.cpus_per_task, source=source.folder, setup=self.lines)
        script.parent.mkdir(exist_ok=True)
        script.write_text(text, encoding="utf-8")
        for point in new:
            _enter(folder / str(point.number))
        numbers = ",".join(str(point.number) for point in new)
        own = {
            "job-name": self.name,
            "array": f"{numbers}%{self.at_once}",
            "output": f"{str(folder).replace('%', '%%')}/%a/{LOG}",
            "comment": str(folder),
        }
        array = submit(script, {**self.options, **own})
        for point in new:
            print(f"{point.label} is job {array}_{point.number}: {_short(folder / str(point.number))}", flush=True)
        return {**known, **{f"{array}_{point.number}": point for point in new}}

    def _command(self, point: SweepPoint, folder: Path, source: CodeSnapshot) -> list[str]:
        options = [f"--config-dir={source.config_dir}"] if source.config_dir else []
        place = f"hydra.run.dir={quoted(folder / str(point.number))}"
        settings = [*point.overrides, *self.hydra_overrides, f"resume={AUTO}", place, "hydra.mode=RUN"]
        return [self.python, str(source.door), *options, *settings]

    def _died(self, run: Path, job: str, entry: QueueEntry | None) -> Status:
        """A run that will not have a last word of its own gets one."""
        if entry is not None and entry.is_hopeless:
            cancel([job])
            why = f"job {job} would never start: Slurm says {entry.reason}"
        elif entry is None:
            why = f"job {job} is gone from the queue and left no result"
        else:
            remedy = _REMEDIES.get(entry.state, "")
            why = f"job {job} ended as {entry.state} and left no result{remedy}"
        status = replace(RunReader(run).status or Status(), status="failed", reason=f"{why}; see {_short(run / LOG)}")
        write_status(run, status)
        return status


_REMEDIES = {
    "OUT_OF_MEMORY": " (more: hydra.launcher.mem_gb)",
    "TIMEOUT": " (more: hydra.launcher.timeout_min or signal_delay_s)",
}


def _has_the_last_word(status: Status | None, found: Mapping[str, QueueEntry] | None, job: str) -> bool:
    """Whether the run has said how it ended; one that was interrupted may come back as long as its job is queued."""
    if status is None or not status.has_ended:
        return False
    return status.status != "interrupted" or (found is not None and _is_gone(found.get(job)))


def _is_gone(entry: QueueEntry | None) -> bool:
    return entry is None or entry.is_over or entry.is_hopeless


def _enter(run: Path) -> None:
    """The run's folder, and that it waits; how it stood before is kept in so far as it goes on from there."""
    run.mkdir(parents=True, exist_ok=True)
    before = RunReader(run).status or Status()
    write_status(run, replace(before, status="queued", value=None, reason=None, started="", process="", job=None))


def _say(point: SweepPoint, status: Status, folder: Path) -> None:
    value = "" if status.value is None else f" with {status.value:.6g}"
    again = f", restarted {status.restarts}x" if status.restarts else ""
    more = "" if status.status == "done" else f"; see {_short(folder / str(point.number) / LOG)}"
    print(f"{point.label} {status.status}{value} after {format_duration(status.seconds)}{again}{more}", flush=True)


def _arrays(jobs: Mapping[str, SweepPoint]) -> list[str]:
    return list(dict.fromkeys(job.partition("_")[0] for job in jobs))


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
