"""Runs the jobs of a queue in order, several at once on several devices."""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

from tinv.errors import UserError
from tinv.runs.layout import PLAN, list_checkpoints
from tinv.runs.parent_process import GRACE_S, is_alive
from tinv.runs.reader import FolderReader, RunReader
from tinv.runs.resume import AUTO, choose_run_dir
from tinv.runs.signals import handle_signals
from tinv.sweeps.child_process import ChildProcess, finalize_status, quote_path
from tinv.sweeps.devices import DeviceSlot, device_slots
from tinv.sweeps.job_queue import (
    DISCARDED,
    DONE,
    FAILED,
    RUNNING,
    WAITING,
    Job,
    JobQueue,
    QueueState,
    now,
    this_process,
)
from tinv.sweeps.results_table import format_duration

POLL_S, CLAIM_S = 0.2, 1.0
_LOG_BYTES = 4000


def run_queue(
    queue: JobQueue, *, devices: Sequence[str] | None = None, n_jobs: int | None = None, watch: bool = False
) -> None:
    """Runs the waiting jobs until none is left. Signals end the jobs, which then wait again.

    Args:
        queue: other processes may run it too; each job runs once.
        devices: the devices to use, as in CUDA_VISIBLE_DEVICES; None is all of them.
        n_jobs: how many jobs run at once; None is one for each device, or on the CPU one for each four cores.
        watch: wait for further jobs at the end.

    Raises:
        RunInterrupted: a signal ended the queue.
    """
    with handle_signals():
        QueueRunner(queue, device_slots(devices, n_jobs)).run(watch=watch)


class QueueRunner:
    """The jobs that this process runs."""

    def __init__(self, queue: JobQueue, slots: Sequence[DeviceSlot]):
        """slots: room for one job each."""
        self.queue, self.free = queue, list(slots)
        self.running: dict[str, tuple[DeviceSlot, Job, ChildProcess]] = {}

    def run(self, *, watch: bool) -> None:
        """Starts jobs and waits for them. However this ends, it leaves none of their processes behind."""
        next_claim = 0.0
        try:
            while True:
                ended = [id for id, (_, _, child) in self.running.items() if child.poll() is not None]
                for id in ended:
                    self._finish(id)
                if self.free and (ended or monotonic() >= next_claim):
                    next_claim = monotonic() + CLAIM_S
                    while self.free and (job := self._claim()):
                        self._start(job)
                    if not self.running and not watch and not self._has_more():
                        return
                sleep(POLL_S)
        finally:
            self._release()

    def _has_more(self) -> bool:
        """Whether a job may start later: one that waits, or one whose process is about to end with its runner."""
        state = self.queue.read()
        if state.is_paused and any(job.state == WAITING for job in state.jobs):
            print("the queue is paused; tinv queue pause --off", flush=True)
            return False
        return any(job.state == WAITING or _has_lost_runner(job) for job in state.jobs)

    def _claim(self) -> Job | None:
        """Returns the next job, which no other process can start any more; None if there is none."""
        state = self.queue.read()
        if not (any(job.state == WAITING for job in state.jobs) or any(map(_has_lost_runner, state.jobs))):
            return None
        with self.queue.change() as state:
            _recover(state)
            job = next((job for job in state.jobs if job.state == WAITING and not state.is_paused), None)
            if job is None:
                return None
            try:
                folder = Path(job.folder) if job.folder else _choose_folder(job)
            except UserError as error:
                job.state, job.reason = FAILED, str(error)
                return None
            job.state, job.folder, job.runner, job.device = RUNNING, str(folder), this_process(), self.free[0].name
            job.started_at, job.ended_at, job.reason, job.attempts = now(), "", "", job.attempts + 1
        return job

    def _start(self, job: Job) -> None:
        slot, log = self.free.pop(0), self.queue.log_path(job.id)
        print(f"{describe(job)} starts on {slot.name}: {job.folder}", flush=True)
        env = {**slot.env, "PYTHONUNBUFFERED": "1"}
        child = ChildProcess(job_command(job), env=env, log=log.absolute(), cwd=Path(job.cwd))
        self.running[job.id] = slot, job, child

    def _finish(self, id: str) -> None:
        """Records how a job ended."""
        slot, job, child = self.running.pop(id)
        self.free.append(slot)
        child.stop(grace_s=0)
        state, reason = _result(job, child)
        if state == FAILED and not reason:
            reason = _last_line(self.queue, id)
        self._record(job, state, reason)
        log = f"; see {self.queue.log_path(id)}" if state == FAILED else ""
        print(f"{describe(job)} {state} after {format_duration(child.seconds)}{log}", flush=True)

    def _release(self) -> None:
        """Ends the jobs; they wait again, and go on from their checkpoints when the queue is run again."""
        for _, _, child in self.running.values():
            child.terminate()
        deadline = monotonic() + GRACE_S
        for _, job, child in self.running.values():
            child.stop(grace_s=deadline - monotonic())
            if not job.is_sweep:
                finalize_status(Path(job.folder), child, interrupted=True)
            self._record(job, WAITING, "")
        if self.running:
            print(f"{len(self.running)} jobs wait again; tinv queue run goes on", file=sys.stderr, flush=True)
        self.running.clear()

    def _record(self, job: Job, state: str, reason: str) -> None:
        with self.queue.change() as content:
            own = next((each for each in content.jobs if each.id == job.id), None)
            if own is not None:
                own.state, own.reason, own.runner, own.device = state, reason, "", ""
                own.ended_at = "" if state == WAITING else now()


def describe(job: Job) -> str:
    """Returns the number and the name of a job."""
    return f"job {job.id} ({'sweep ' if job.is_sweep else ''}{job.name})"


def job_command(job: Job) -> list[str]:
    """Returns the command of a job that has a folder; a job that has begun goes on from its newest checkpoint."""
    folder = Path(job.folder)
    options = [f"--config-dir={job.config_dir}"] if job.config_dir else []
    if not job.is_sweep:
        overrides = [*job.overrides, f"hydra.run.dir={quote_path(folder)}"]
        if job.attempts > 1 and list_checkpoints(folder):
            overrides = [*(text for text in overrides if not text.startswith("resume=")), f"resume={AUTO}"]
    elif (folder / PLAN).is_file():
        options, overrides = ["-m", *options], [*job.overrides, f"sweep.resume={quote_path(folder)}"]
    else:
        options, overrides = ["-m", *options], [*job.overrides, f"hydra.sweep.dir={quote_path(folder)}"]
    return [sys.executable, "-m", "tinv.training.main", *options, *overrides]


def _choose_folder(job: Job) -> Path:
    root = Path(job.cwd, job.root_dir).resolve()
    return Path(choose_run_dir(root, job.name, None if job.is_sweep else job.resume)).absolute()


def _recover(state: QueueState) -> None:
    """Makes the jobs wait again whose runner on this machine was killed."""
    for job in state.jobs:
        if _has_lost_runner(job) and not _is_process_alive(RunReader(job.folder)):
            job.state, job.runner, job.device = WAITING, "", ""


def _has_lost_runner(job: Job) -> bool:
    host, _, pid = job.runner.rpartition(":")
    own_host = this_process().rpartition(":")[0]
    return job.state == RUNNING and host == own_host and pid.isdecimal() and not is_alive(int(pid))


def _is_process_alive(run: RunReader) -> bool:
    """Whether the process of a run still lives, which saves when its runner was killed."""
    pid = run.status.process.rpartition(":")[2] if run.status and run.status.status == "running" else ""
    return pid.isdecimal() and is_alive(int(pid))


def _result(job: Job, child: ChildProcess) -> tuple[str, str]:
    """Returns how a job ended and why."""
    code = child.poll()
    if job.is_sweep:
        return (DONE, "") if code == 0 else (FAILED, "")
    status = RunReader(job.folder).status
    if status is None or not status.has_ended:
        return FAILED, "" if code and code > 0 else (finalize_status(Path(job.folder), child).reason or "")
    state = {"done": DONE, "discarded": DISCARDED}.get(status.status, FAILED)
    return state, (status.reason or "") if state == FAILED else ""


def _last_line(queue: JobQueue, id: str) -> str:
    log = queue.log_path(id)
    lines = FolderReader(log.parent).read_tail(log.name, _LOG_BYTES).strip().splitlines()
    return lines[-1][:300] if lines else "its process ended without a message"
