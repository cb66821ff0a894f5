"""SIGTERM and Ctrl-C end a run: between two steps while it trains, otherwise at once. A closed pipe ends it, too.

In a Slurm job, `slurm_job.py` handles SIGTERM.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tinv.errors import RunInterrupted
from tinv.runs.environment import is_first_process
from tinv.runs.slurm_job import current_job

_handlers: dict[signal.Signals, object] = {}
"""What handled the signals before `handle_signals`."""
_received: list[signal.Signals] = []
_is_deferring = False


@contextmanager
def handle_signals() -> Iterator[None]:
    """Turns the first signal into `RunInterrupted` while the block runs, in the main thread.

    Signals that are ignored stay ignored: a shell starts background commands without Ctrl-C.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, *([] if current_job() else [signal.SIGTERM])):
            if signal.getsignal(number) != signal.SIG_IGN:
                _handlers[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in _handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        _handlers.clear()
        _received.clear()
        defer(False)


def is_handling() -> bool:
    """Whether `handle_signals` is active."""
    return bool(_handlers)


def defer(deferring: bool) -> None:
    """Makes the handler only record a signal, or raise again. The caller acts on what `received_signal` returns.

    Does nothing in other threads than the main one, which receives the signals of all.
    """
    global _is_deferring
    if threading.current_thread() is threading.main_thread():
        _is_deferring = deferring


def received_signal() -> signal.Signals | None:
    """Returns the first signal that was received."""
    return _received[0] if _received else None


def discard_closed_output() -> bool:
    """Whether the reader of standard output or error has ended, such as `head`; discards what is meant for it.

    Always false on Windows, which cannot tell.
    """
    is_closed = False
    for stream in (sys.stdout, sys.stderr) if os.name != "nt" else ():
        poll = select.poll()
        poll.register(stream, 0)
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            is_closed = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes again at exit
    return is_closed


def _handle(number: int, frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))
    if len(_received) > 1:
        return
    if signal.SIGINT in _handlers:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the next Ctrl-C ends the process at once, whatever it does
    if not _is_deferring:
        raise RunInterrupted(number)
    if is_first_process():
        message = f"{_received[0].name}: the run is saved and ends after this step; Ctrl-C (again) ends it at once\n"
        os.write(2, message.encode())  # print() is not safe in a signal handler
