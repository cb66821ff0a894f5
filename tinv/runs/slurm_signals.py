"""Handles the signals by which Slurm asks a job to end.

`SIGTERM`: preemption, `scancel`, or the time limit has passed. `SIGUSR2`: the time limit is near. A handler only
records the signal; `tinv.training.callbacks.SlurmRequeue` acts on it where the run can be resumed.
"""

import os
import signal
import threading
from types import FrameType

TERMINATE = signal.SIGTERM
TIME_LIMIT_NEAR = getattr(signal, "SIGUSR2", signal.SIGTERM)
_received: set[int] = set()


def install_handlers() -> None:
    """Installs the handlers of both signals, if this is the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in (TERMINATE, TIME_LIMIT_NEAR):
            signal.signal(number, _record)


def received_signal() -> signal.Signals | None:
    """Returns the signal that was received; SIGTERM if both were."""
    return next((number for number in (TERMINATE, TIME_LIMIT_NEAR) if number in _received), None)


def _record(number: int, frame: FrameType | None) -> None:
    _received.add(number)
    message = f"Slurm sent {signal.Signals(number).name}; the run is saved after this step\n"
    os.write(2, message.encode())  # print() is not safe in a signal handler
