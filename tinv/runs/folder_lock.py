"""One process at a time uses a run folder or a sweep folder; it removes what killed ones have left there."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tinv.errors import UserError
from tinv.runs.environment import is_first_process
from tinv.runs.files import write_atomically, write_error
from tinv.runs.layout import LOCK
from tinv.runs.parent_process import is_alive, runs_here
from tinv.runs.reader import RunReader

HYDRA_FILES_BYTES = 64 * 1024
"""More than Hydra's files in a run folder take."""
PATIENCE_S = 30.0
"""How long a process that has ended may still seem to hold a lock: its data workers or a file server release it."""


@contextmanager
def lock_folder(folder: Path, refusal: str, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Locks a folder for this process while the block runs. The lock of a process that has ended does not count.

    Raises:
        UserError: another process has the lock for longer than `timeout_s`; its message is `refusal`. Or the folder
            cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(refusal) from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Locks a run folder, removes old temporary files, and checks that Hydra can write its files.

    Does nothing in the further processes of a run.

    Raises:
        UserError: another process trains in this folder, the disk is full, or the folder cannot be written.
    """
    if not is_first_process():
        yield
        return
    status = RunReader(folder).status
    process = status.process if status else ""
    refusal = f"{folder}: another process{f' ({process})' if process else ''} trains here. Wait for its end or end it; "
    refusal += "without resume, a new run gets a folder of its own."
    with lock_folder(folder, refusal, timeout_s=0 if runs_here(process) else PATIENCE_S):
        remove_temporary_files(folder, ended_process=process)
        _check_space(folder, is_new=status is None)
        yield


def remove_temporary_files(folder: Path, *, ended_process: str = "") -> None:
    """Removes what killed processes of this machine were writing in a folder or below it.

    Args:
        folder: the folder.
        ended_process: `host:pid` of a process of any machine that has ended.
    """
    ended_host, _, ended_pid = ended_process.rpartition(":")
    for path in [*folder.rglob(".*.part"), *folder.rglob(".*.old")]:
        stem, pid, end = path.name.rsplit(".", 2)
        for host in (socket.gethostname(), ended_host):
            name = stem.removesuffix(f".{host}").removeprefix(".")
            is_ended = (host, pid) == (ended_host, ended_pid) or (host == socket.gethostname() and _has_ended(pid))
            if stem != f".{name}.{host}" or not is_ended:
                continue
            with suppress(OSError):
                if end == "old" and not path.with_name(name).exists():
                    path.replace(path.with_name(name))  # killed between the two moves of write_folder_atomically
                elif path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _has_ended(pid: str) -> bool:
    """Whether no process of this machine with this pid writes files now; this process has not begun to."""
    return pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid)))


def _check_space(folder: Path, *, is_new: bool) -> None:
    """Writes and removes a file, because Hydra would replace its files by incomplete ones on a full disk."""
    probe = folder / ".space"
    try:
        with write_atomically(probe) as draft:
            draft.write_bytes(os.urandom(HYDRA_FILES_BYTES))
        probe.unlink()
    except UserError as error:
        if is_new:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()
        raise UserError(str(error).replace(str(probe), str(folder))) from error
