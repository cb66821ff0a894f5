"""Ends a process that tinv started when the process that started it has ended, even by SIGKILL.

The child polls its parent: Linux alone could notify it.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep

import psutil

from tinv.runs.environment import is_first_process
from tinv.runs.slurm_job import current_job

GRACE_S = 30.0
"""Seconds between the request to end and the kill: for a step, a validation and a sheet of samples."""
POLL_S = 1.0
_VARIABLE = "TINV_PARENT_PID"


def parent_variable() -> dict[str, str]:
    """Returns the environment variable that makes a process end with this one."""
    return {_VARIABLE: str(os.getpid())}


@contextmanager
def children_end_with_this_process() -> Iterator[None]:
    """Sets the variable while the block runs: Lightning starts the processes of `trainer=ddp` with this environment."""
    before = os.environ.get(_VARIABLE)
    os.environ.update(parent_variable())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def end_with_parent() -> None:
    """Starts the thread that polls the parent, if the variable is set."""
    pid = os.environ.get(_VARIABLE, "")
    if pid.isdecimal():
        threading.Thread(target=_end_after, args=[int(pid)], name="end-with-parent", daemon=True).start()


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        return _is_running(psutil.Process(pid))
    except psutil.Error:
        return False


def runs_here(process: str) -> bool | None:
    """Whether the process `host:pid` of this machine runs; None if it is of another machine."""
    host, _, pid = process.rpartition(":")
    return is_alive(int(pid)) if host == socket.gethostname() and pid.isdecimal() else None


def _is_running(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _end_after(pid: int) -> None:
    """Waits for the end of a process. The first process of a run may then save it, the others end at once."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        while _is_running(parent):
            sleep(POLL_S)
    if is_first_process() and not current_job():
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(GRACE_S)
    os._exit(128 + signal.SIGTERM)
