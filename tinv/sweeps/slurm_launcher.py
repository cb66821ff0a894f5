"""`hydra/launcher=slurm`: each point as a task of a Slurm job array, in a folder that is fixed when it is submitted."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tinv.config.restricted_settings import is_trusted_folder, trust_in_children
from tinv.errors import RunInterrupted, UserError, require_minimum
from tinv.runs.files import write_text
from tinv.runs.layout import LOG
from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.resume import AUTO
from tinv.runs.status import Status
from tinv.sweeps.child_process import quote_path
from tinv.sweeps.code_snapshot import CodeSnapshot, take_snapshot
from tinv.sweeps.launchers import PointLauncher, display_path, report_end
from tinv.sweeps.points import SweepPoint
from tinv.sweeps.slurm_preflight import check_job_shape
from tinv.sweeps.slurm_queue import QueueEntry, QueueMonitor, cancel, list_entries, submit
from tinv.sweeps.slurm_script import batch_script, job_options

MISSED_POLLS = 3
"""A network file system may show a run's last status late: a run whose job has ended is checked this many times."""


class SlurmLauncher(PointLauncher):
    """Submits points, then polls the runs' status files, and the queue for runs that died without writing one."""

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
        partition: the partition; None is the cluster's default.
        account: the account; None is the user's default.
        timeout_min: time limit of a session in minutes; a run that needs longer is saved and requeued.
        signal_delay_s: seconds before the time limit when the run is signaled; they must suffice for a training step,
            a sheet of samples and a margin.
        nodes: nodes of each run, as `trainer.num_nodes`.
        tasks_per_node: processes on each node, as `trainer.devices`.
        gpus_per_node: GPUs of each node: a number, or `a100:2`.
        cpus_per_task: cores of each process.
        mem_gb: memory of each node in GB; None is the cluster's default.
        array_parallelism: how many points run at once.
        options: further options of sbatch, such as `{qos: long, constraint: a100}`.
        setup: shell lines before the run, such as `["module load cuda"]`.
        python: the Python interpreter on the nodes; None is this one.
        wait: wait for the points to end; otherwise only submit them.
        poll_s: seconds between two polls.
        """
        if timeout_min * 60 <= signal_delay_s:
            raise UserError(
                f"hydra.launcher.signal_delay_s={signal_delay_s}: it is not less than the session of "
                f"hydra.launcher.timeout_min={timeout_min} minutes. Set it well below {timeout_min * 60}."
            )
        extra_options = dict(options or {})
        if mem_gb is not None and (others := sorted({"mem-per-cpu", "mem-per-gpu"} & extra_options.keys())):
            raise UserError(
                f"hydra.launcher.mem_gb={mem_gb}: hydra.launcher.options.{others[0]} limits the same memory. "
                f"Set hydra.launcher.mem_gb=null, or remove that option."
            )
        require_minimum("hydra.launcher.array_parallelism", array_parallelism, 1)
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
            extra_options=extra_options,
        )
        self.shape: dict[str, Any] = {
            "nodes": nodes,
            "tasks_per_node": tasks_per_node,
            "gpus_per_node": gpus_per_node,
            "has_gpu_options": any(name.startswith(("gres", "gpus")) for name in extra_options),
        }
        self.cpus_per_task, self.array_parallelism = cpus_per_task, array_parallelism
        self.setup_lines, self.python = list(setup), python or sys.executable
        self.wait, self.poll_s = wait, poll_s

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks that the job fits the trainer, and stores the settings.

        Raises:
            UserError: the settings contradict each other.
        """
        check_job_shape(config.trainer, **self.shape)
        self.name, self.stops_on_failure = str(config.name), config.sweep.on_failure == "stop"
        if self.stops_on_failure and not self.wait:
            raise UserError("sweep.on_failure=stop requires hydra.launcher.wait=true.")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def queue(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Submits all points together and yields each one when it has ended; with `wait=False`, yields none."""
        yield from self._run(points, folder.absolute(), room=self.array_parallelism if self.stops_on_failure else None)

    def stream(self, points: Iterator[SweepPoint], folder: Path) -> Iterator[tuple[SweepPoint, Status]]:
        """Submits a point when there is room for it, since a search chooses it from the results of earlier points."""
        if not self.wait:
            raise UserError("hydra.launcher.wait=false: a search needs the results of its points. Set it to true.")
        yield from self._run(points, folder.absolute(), room=self.array_parallelism)

    def _run(
        self, points: Iterator[SweepPoint], folder: Path, *, room: int | None
    ) -> Iterator[tuple[SweepPoint, Status]]:
        monitor, running, missed = QueueMonitor(), dict[str, SweepPoint](), dict[str, int]()
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
                entries = monitor.poll()
                for job, point in list(running.items()):
                    run = folder / str(point.number)
                    status = RunReader(run).status
                    if not _has_final_status(status, entries, job):
                        is_missed = entries is not None and _is_gone(entries.get(job))
                        missed[job] = missed.get(job, 0) + 1 if is_missed else 0
                        if missed[job] < MISSED_POLLS:
                            continue
                        status = _write_failure(run, job, (entries or {}).get(job))
                    assert status is not None
                    del running[job]
                    report_end(point, status, run)
                    yield point, status
        except (KeyboardInterrupt, RunInterrupted, UserError):
            if running:
                arrays = dict.fromkeys(job.partition("_")[0] for job in running)
                print(
                    f"\nThe jobs go on. To see their progress: tinv status {folder}; to wait for them again: "
                    f"sweep.resume={folder}; to end them: scancel {' '.join(arrays)}",
                    flush=True,
                )
            raise

    def _submit(self, points: Sequence[SweepPoint], folder: Path) -> dict[str, SweepPoint]:
        """Submits points and returns them by job; a point that an earlier command submitted stays in its job."""
        if not points:
            return {}
        queued = {
            int(job.rpartition("_")[2]): job
            for job, entry in list_entries().items()
            if entry.comment == str(folder) and not entry.has_ended
        }
        jobs = {queued[point.number]: point for point in points if point.number in queued}
        for job, point in jobs.items():
            print(f"{point.label} is job {job} already", flush=True)
        new = [point for point in points if point.number not in queued]
        if not new:
            return jobs
        snapshot = take_snapshot(folder, config_dir=self.config_dir)
        if self.config_dir and snapshot.config_dir and is_trusted_folder(self.config_dir):
            trust_in_children(snapshot.config_dir)
        commands = {point.number: self._command(point, folder, snapshot) for point in new}
        script = folder / "slurm" / f"points_{'-'.join(dict.fromkeys(str(p.number) for p in (new[0], new[-1])))}.sh"
        text = batch_script(commands, cpus_per_task=self.cpus_per_task, source=snapshot.folder, setup=self.setup_lines)
        write_text(script, text)
        for point in new:
            _write_queued(folder / str(point.number))
        numbers = ",".join(str(point.number) for point in new)
        own = {
            "job-name": self.name,
            "array": f"{numbers}%{self.array_parallelism}",
            "output": f"{str(folder).replace('%', '%%')}/%a/{LOG}",
            "comment": str(folder),
        }
        try:
            array = submit(script, {**self.options, **own})
        except UserError as error:
            for point in new:
                _write_refused(folder / str(point.number), str(error))
            raise
        for point in new:
            job = f"{array}_{point.number}"
            jobs[job] = point
            print(f"{point.label} is job {job}: {display_path(folder / str(point.number))}", flush=True)
        return jobs

    def _command(self, point: SweepPoint, folder: Path, snapshot: CodeSnapshot) -> list[str]:
        options = [f"--config-dir={snapshot.config_dir}"] if snapshot.config_dir else []
        run_dir = f"hydra.run.dir={quote_path(folder / str(point.number))}"
        overrides = [*point.overrides, *self.hydra_overrides, f"resume={AUTO}", run_dir, "hydra.mode=RUN"]
        return [self.python, str(snapshot.script), *options, *overrides]


_REMEDIES = {
    "OUT_OF_MEMORY": " (raise hydra.launcher.mem_gb)",
    "TIMEOUT": " (raise hydra.launcher.timeout_min or signal_delay_s)",
}


def _has_final_status(status: Status | None, entries: Mapping[str, QueueEntry] | None, job: str) -> bool:
    """Whether the run has ended; one that was interrupted may start again as long as its job is in the queue."""
    if status is None or not status.has_ended:
        return False
    return status.status != "interrupted" or (entries is not None and _is_gone(entries.get(job)))


def _is_gone(entry: QueueEntry | None) -> bool:
    return entry is None or entry.has_ended or entry.cannot_start


def _write_queued(run: Path) -> None:
    """Makes the run's folder and writes that it is queued; what a resumed run counts on is kept."""
    run.mkdir(parents=True, exist_ok=True)
    before = RunReader(run).status or Status()
    write_status(run, replace(before, status="queued", value=None, reason=None, started="", process="", job=None))


def _write_refused(run: Path, reason: str) -> None:
    """Writes that Slurm refused a run; what a resumed run counts on is kept."""
    write_status(run, replace(RunReader(run).status or Status(), status="failed", reason=reason))


def _write_failure(run: Path, job: str, entry: QueueEntry | None) -> Status:
    """Writes that a run failed which did not write its end itself, and cancels a job that cannot start."""
    if entry is not None and entry.cannot_start:
        cancel([job])
        reason = f"job {job} would never start: Slurm reports {entry.reason}"
    elif entry is None:
        reason = f"job {job} is gone from the queue and left no result"
    else:
        reason = f"job {job} ended as {entry.state} and left no result{_REMEDIES.get(entry.state, '')}"
    status = replace(
        RunReader(run).status or Status(), status="failed", reason=f"{reason}; see {display_path(run / LOG)}"
    )
    write_status(run, status)
    return status
