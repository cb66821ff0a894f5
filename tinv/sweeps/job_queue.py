"""queue.json: the jobs of a queue in order. Each change is made under a lock and written atomically."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.runs.folder_lock import lock_folder
from tinv.runs.layout import QUEUE, QUEUE_FILE, QUEUE_LOGS
from tinv.runs.reader import FolderReader
from tinv.runs.status import TIME_FORMAT
from tinv.runs.typed import to_type

WAITING, RUNNING, DONE, FAILED, DISCARDED = "waiting", "running", "done", "failed", "discarded"
LOCK_TIMEOUT_S = 30.0
"""A change takes milliseconds; a process that holds the lock for longer has been stopped."""


@dataclass
class Job:
    """A command of the queue."""

    id: str
    """`1`, `2` and so on; never used again."""
    overrides: list[str]
    """The arguments of train.py."""
    config_dir: str | None
    """The value of `--config-dir`."""
    is_sweep: bool
    name: str
    """The name of the run, which is that of its folder."""
    root_dir: str
    """The folder of outputs, `paths.root_dir`."""
    cwd: str
    """The working directory of the command, to which its paths refer."""
    resume: str | None = None
    """The setting `resume`."""
    state: str = WAITING
    """`waiting`, `running`, `done`, `failed` or `discarded`."""
    folder: str = ""
    """The folder of the run or of the sweep; empty before it starts."""
    runner: str = ""
    """`host:pid` of the `tinv queue run` that runs it; empty if none does."""
    device: str = ""
    reason: str = ""
    """Why it failed."""
    added_at: str = ""
    """In TIME_FORMAT, as the next two."""
    started_at: str = ""
    ended_at: str = ""
    attempts: int = 0
    """How often it was started."""


@dataclass
class QueueState:
    """The content of queue.json."""

    jobs: list[Job] = field(default_factory=list)
    """In the order in which they run."""
    is_paused: bool = False
    """Whether no further job starts."""
    last_id: int = 0

    def find(self, id: str) -> Job:
        """Returns a job.

        Raises:
            UserError: there is none with this id.
        """
        for job in self.jobs:
            if job.id == id:
                return job
        ids = ", ".join(job.id for job in self.jobs) or "none"
        raise UserError(f"{id[:40]}: the queue has no job with this number. It has {ids}.")


class JobQueue:
    """The queue of an outputs folder. Several processes may use it at once."""

    def __init__(self, root_dir: Path | str):
        """root_dir: the outputs folder, usually `outputs`."""
        self.root_dir = Path(root_dir)
        self.folder = self.root_dir / QUEUE

    def read(self) -> QueueState:
        """Returns the jobs.

        Raises:
            UserError: the file is damaged.
        """
        reader = FolderReader(self.folder)
        content = reader.read_object(QUEUE_FILE)
        if problems := reader.describe_problems():
            raise UserError(f"{problems[0]}. Remove the file to begin a new queue; the runs do not depend on it.")
        try:
            return to_type(QueueState, content or {})
        except ValueError as error:
            path = self.folder / QUEUE_FILE
            raise UserError(f"{path} is damaged ({error}). Remove the file to begin a new queue.") from error

    @contextmanager
    def change(self) -> Iterator[QueueState]:
        """Yields the jobs for a change, which is written when the block ends; no other process changes them meanwhile.

        Raises:
            UserError: the file is damaged, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be created ({error.strerror}).") from error
        refusal = f"{self.folder}: another process has been changing the queue for {LOCK_TIMEOUT_S:g} s. End it."
        with lock_folder(self.folder, refusal, timeout_s=LOCK_TIMEOUT_S):
            state = self.read()
            yield state
            write_json(self.folder / QUEUE_FILE, asdict(state))

    def add(self, job: Job) -> Job:
        """Appends a job whose command is checked; gives it its id."""
        with self.change() as state:
            state.last_id += 1
            job.id, job.added_at = str(state.last_id), now()
            state.jobs.append(job)
        return job

    def remove(self, ids: Sequence[str]) -> None:
        """Removes jobs, and the files with their output; the folders of their runs stay.

        Raises:
            UserError: there is no such job, or it runs.
        """
        with self.change() as state:
            jobs = [state.find(id) for id in ids]
            for job in jobs:
                if job.state == RUNNING:
                    raise UserError(f"{job.id}: the job runs. End it first: tinv tell {job.folder} stop")
            state.jobs = [job for job in state.jobs if job not in jobs]
        for job in jobs:
            with suppress(OSError):
                self.log_path(job.id).unlink()

    def move(self, id: str, position: int) -> None:
        """Moves a job to a position, counted from 1.

        Raises:
            UserError: there is no such job or position.
        """
        with self.change() as state:
            job = state.find(id)
            if not 1 <= position <= len(state.jobs):
                raise UserError(f"{position}: the queue has positions 1 to {len(state.jobs)}.")
            state.jobs.remove(job)
            state.jobs.insert(position - 1, job)

    def set_paused(self, is_paused: bool) -> None:
        """Keeps further jobs from starting, or lets them start again; those that run go on."""
        with self.change() as state:
            state.is_paused = is_paused

    def retry(self, ids: Sequence[str] = ()) -> list[Job]:
        """Makes jobs that failed or were discarded wait again, all failed ones without ids; returns them.

        Raises:
            UserError: there is no such job, or it has not ended.
        """
        with self.change() as state:
            jobs = [state.find(id) for id in ids] or [job for job in state.jobs if job.state == FAILED]
            for job in jobs:
                if job.state not in (FAILED, DISCARDED):
                    raise UserError(f"{job.id}: the job is {job.state}. Only one that failed can be retried.")
                job.state, job.reason, job.ended_at = WAITING, "", ""
        return jobs

    def log_path(self, id: str) -> Path:
        """Returns the file with the output of a job."""
        return self.folder / QUEUE_LOGS / f"{id}.txt"


def this_process() -> str:
    """Returns `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def now() -> str:
    """Returns the time in TIME_FORMAT."""
    return f"{datetime.now(UTC):{TIME_FORMAT}}"
