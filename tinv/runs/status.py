"""status.json: how a run stands, in its own folder, for whoever started it or only looks at the files."""

import json
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from tinv.errors import UserError
from tinv.runs.files import write_json
from tinv.slurm import this_job

FILE = "status.json"
PROGRESS = "progress.json"
"""How far it is, beside it."""
TIME = "%Y-%m-%dT%H:%M:%SZ"
ENDED = ("done", "pruned", "failed", "interrupted")
"""What a run can have come to. One that is killed stays `running`: who started it knows better."""


@dataclass
class Status:
    """How a run stands."""

    status: str = "running"
    """`queued`, `running`, `requeued`, or one of `ENDED`."""
    value: float | None = None
    """The monitored number at the end."""
    reason: str | None = None
    """Why it failed."""
    started: str = ""
    seconds: float = 0.0
    """Of the session that runs; of those before it, what they knew of when they were put aside."""
    process: str = ""
    """`host:pid` of the process that runs it."""
    job: str | None = None
    """Slurm's number for it: `123`, or `123_4`."""
    began: str = ""
    """When its first session was started."""
    restarts: int = 0
    """How often it was gone on with."""

    @property
    def has_ended(self) -> bool:
        """Whether the run itself had the last word."""
        return self.status in ENDED


def read_status(run: Path | str) -> Status | None:
    """The status in a run's folder, or None if there is none that can be read."""
    try:
        return Status(**json.loads((Path(run) / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def steps_of(run: Path | str) -> int | None:
    """How many optimizer steps a run has made, as it said last; None if it has said nothing."""
    try:
        return int(json.loads((Path(run) / PROGRESS).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_status(run: Path | str, status: Status) -> None:
    """Write the status into a run's folder, whole or not at all."""
    write_json(Path(run) / FILE, asdict(status))


@contextmanager
def recorded(run: Path | str) -> Iterator[Status]:
    """Keep a run's status file while the block runs; the block sets `value`.

    The file is the first process's: the others of a run on several devices leave it alone.
    """
    status = _begun(read_status(run))
    began = time() - status.seconds
    if not _is_first_process():
        yield status
        return
    write_status(run, status)
    try:
        yield status
    except BaseException as error:
        status.status, status.reason = _what_happened(error), _said(error)
        status.seconds = round(time() - began, 2)
        with suppress(UserError):  # a full disk, say: what the run itself failed of matters more
            write_status(run, status)
        raise
    status.status, status.seconds = "done", round(time() - began, 2)
    if status.value is not None and not math.isfinite(status.value):
        status.value, status.reason = None, f"ended with {status.value}"
    write_status(run, status)


def put_aside(run: Path | str, what: str, why: str) -> None:
    """Say that the run's process is about to be ended from outside.

    Args:
        run: its folder.
        what: `requeued` or `interrupted`.
        why: in words.
    """
    status = read_status(run) or Status()
    if status.started:
        started = datetime.strptime(status.started, TIME).replace(tzinfo=UTC)
        status.seconds = round(status.seconds + (datetime.now(UTC) - started).total_seconds(), 2)
    status.status, status.reason = what, why
    write_status(run, status)


def _begun(before: Status | None) -> Status:
    """A session that begins, after others in the same folder or as the first."""
    status = Status(process=f"{socket.gethostname()}:{os.getpid()}", started=f"{datetime.now(UTC):{TIME}}")
    job = this_job()
    status.job, status.began = job.id if job else None, status.started
    if before is not None and before.began:
        status.began, status.restarts = before.began, before.restarts + 1
        status.seconds = before.seconds if before.status == "requeued" else 0.0
    return status


def _is_first_process() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _what_happened(error: BaseException) -> str:
    return "failed" if isinstance(error, Exception) else "interrupted"


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".strip(": ")
