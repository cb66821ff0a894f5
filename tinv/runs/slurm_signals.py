"""The signals by which Slurm asks a job to end, with one owner.

`SIGTERM`: pre-emption, or `scancel`, or the time limit has passed. `SIGUSR2`: the time limit is near. A handler only
notes them; `tinv.training.callbacks.SlurmRequeue` heeds them where a run can be gone on with.
"""

import os
import signal
import threading
from types import FrameType

TERM = signal.SIGTERM
NEAR_THE_END = getattr(signal, "SIGUSR2", signal.SIGTERM)
_heard: set[int] = set()


def listen() -> None:
    """Own both signals from now on."""
    if threading.current_thread() is threading.main_thread():
        for number in (TERM, NEAR_THE_END):
            signal.signal(number, _note)


def heard() -> signal.Signals | None:
    """What Slurm has asked for; of both, the one that cannot be refused."""
    return next((number for number in (TERM, NEAR_THE_END) if number in _heard), None)


def _note(number: int, frame: FrameType | None) -> None:
    _heard.add(number)
    said = f"Slurm sent {signal.Signals(number).name}; the run is saved after this step\n"
    os.write(2, said.encode())  # print() is not safe in a handler
