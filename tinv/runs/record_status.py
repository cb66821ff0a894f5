"""Writes status.json: while a run is going on, and when something outside ends it."""

import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from time import time

from tinv.errors import RunDiscarded, UserError, error_message
from tinv.runs.environment import is_first_process
from tinv.runs.files import write_json
from tinv.runs.layout import STATUS
from tinv.runs.reader import RunReader
from tinv.runs.slurm_job import current_job
from tinv.runs.status import TIME_FORMAT, Status


def write_status(run_dir: Path | str, status: Status) -> None:
    """Writes the status into a run folder, atomically."""
    write_json(Path(run_dir) / STATUS, asdict(status))


@contextmanager
def record_status(run_dir: Path | str) -> Iterator[Status]:
    """Keeps the status file of a run up to date while the block runs; the block sets `value`.

    Only the first process of a run on several devices writes the file.
    """
    run = RunReader(run_dir)
    status = _start_session(run.status)
    start = time() - status.seconds
    if not is_first_process():
        yield status
        return
    for problem in run.describe_problems():
        lost = "The start and the restarts of earlier sessions are lost."
        print(f"warning: {problem}. {lost}", file=sys.stderr, flush=True)
    write_status(run_dir, status)
    try:
        yield status
    except BaseException as error:
        ends = {RunDiscarded: "discarded", Exception: "failed"}
        status.status = next((end for kind, end in ends.items() if isinstance(error, kind)), "interrupted")
        status.reason = error_message(error)
        status.seconds = round(time() - start, 2)
        with suppress(UserError):  # for example a full disk; the error of the run itself matters more
            write_status(run_dir, status)
        raise
    recorded = RunReader(run_dir).status
    status.reason = recorded.reason if recorded else None
    status.status, status.seconds = "done", round(time() - start, 2)
    if status.value is not None and not math.isfinite(status.value):
        status.value, status.reason = None, f"ended with {status.value}"
    write_status(run_dir, status)


def set_status(run_dir: Path | str, status: str, reason: str) -> None:
    """Records that something outside is about to end the run's process: `requeued` or `interrupted`."""
    current = RunReader(run_dir).status or Status()
    if current.started:
        started = datetime.strptime(current.started, TIME_FORMAT).replace(tzinfo=UTC)
        current.seconds = round(current.seconds + (datetime.now(UTC) - started).total_seconds(), 2)
    current.status, current.reason = status, reason
    write_status(run_dir, current)


def set_reason(run_dir: Path | str, reason: str) -> None:
    """Records why a run that goes on to its end does so before its last step."""
    write_status(run_dir, replace(RunReader(run_dir).status or Status(), reason=reason))


def _start_session(previous: Status | None) -> Status:
    """Returns the status of a session that starts now, after earlier ones in the same folder if there were any."""
    status = Status(process=f"{socket.gethostname()}:{os.getpid()}", started=f"{datetime.now(UTC):{TIME_FORMAT}}")
    status.job, status.first_started = (job.id if (job := current_job()) else None), status.started
    if previous is not None and previous.first_started:
        status.first_started, status.restarts = previous.first_started, previous.restarts + 1
        status.seconds = previous.seconds if previous.status == "requeued" else 0.0
    return status
