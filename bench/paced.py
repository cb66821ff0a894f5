"""Runs a training script, unchanged, and stops it after every optimizer step until it is told to go on.

    python -m bench.paced PORT SCRIPT [the script's own words ...]

`bench.runner` starts it and listens at the port; at port 0 nobody listens, and the script runs through. Of whose making
the script is does not matter: the end of a step is where torch's optimizer has stepped.
"""

import os
import resource
import runpy
import sys
import time
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

STOP, GO = False, True


class Pace:
    """Sends the seconds of every step and waits."""

    def __init__(self, connection: Connection):
        """Args:
        connection: to the runner.
        """
        self.connection, self.wall, self.cpu = connection, time.perf_counter(), 0.0

    def __call__(self, optimizer: Any, *_: Any) -> None:
        """The optimizer has stepped."""
        if sum(row.numel() for group in optimizer.param_groups for row in group["params"]) == 1:
            return  # tinv tries an optimizer before a run, on a single number
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.connection.send((time.perf_counter() - self.wall, time.process_time() - self.cpu))
        if self.connection.recv() == STOP:
            self.connection.send(peaks())
            self.connection.close()
            os._exit(0)
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def peaks() -> dict[str, int]:
    """The most memory that this process has held, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20
    return {"rss": rss} | ({"gpu": torch.cuda.max_memory_allocated() >> 20} if torch.cuda.is_available() else {})


def main(port: str, script: str, *words: str) -> None:
    """Run the script as if it had been typed."""
    if int(port):
        register_optimizer_step_post_hook(Pace(Client(("localhost", int(port)))))
    sys.argv = [script, *words]
    if Path(script).with_name("torchvision.py").is_file():  # a stand-in, for the script alone
        from transformers.utils import is_torchvision_available

        is_torchvision_available()
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
