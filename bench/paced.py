"""Runs a training script, unchanged, and stops it after every optimizer step until it is told to go on.

    python -m bench.paced PORT SCRIPT [the script's own words ...]

`bench.runner` starts it and listens at the port; at port 0 nobody listens, and the script runs through. Of whose making
the script is does not matter: the end of a step is where torch's optimizer has stepped.
"""

import atexit
import os
import re
import resource
import runpy
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

OPTIMIZERS = "torch.optim.optimizer"
STOP, GO = False, True
TOLD = "BENCH_RSS"
"""Environment variable: a file in which a script that runs through leaves its `rss`."""


class EffectiveBatch:
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
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.connection.send((time.perf_counter() - self.wall, time.process_time() - self.cpu))
        if self.connection.recv() == STOP:
            self.connection.send(peaks())
            self.connection.close()
            os._exit(0)
        self.wall, self.cpu = time.perf_counter(), time.process_time()


class Introduced(MetaPathFinder):
    """Introduces the pace to torch's optimizers when the script itself imports them: so that its start is its own."""

    def __init__(self, pace: EffectiveBatch):
        """Args:
        pace: is called after every step.
        """
        self.pace = pace

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module as it is, with the pace registered once it is there."""
        if name != OPTIMIZERS:
            return None
        sys.meta_path.remove(self)
        spec: Any = find_spec(name)
        make = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            make(module)
            module.register_optimizer_step_post_hook(self.pace)

        spec.loader.exec_module = exec_module
        return spec


def peaks() -> dict[str, int]:
    """The most memory that this process has held, in MiB."""
    import torch

    return {"rss": rss()} | ({"gpu": torch.cuda.max_memory_allocated() >> 20} if torch.cuda.is_available() else {})


def rss() -> int:
    """The most that was resident, in MiB; what the operating system counts on Linux begins at that of the parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) >> 10  # type: ignore[index]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def main(port: str, script: str, *words: str) -> None:
    """Run the script as if it had been typed."""
    if told := os.environ.get(TOLD):
        atexit.register(lambda: Path(told).write_text(str(rss())))
    if int(port):
        sys.meta_path.insert(0, Introduced(EffectiveBatch(Client(("localhost", int(port))))))
    sys.argv = [script, *words]
    if Path(script).with_name("torchvision.py").is_file():  # a stand-in, for the script alone
        from transformers.utils import is_torchvision_available

        is_torchvision_available()
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
