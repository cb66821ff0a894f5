"""Runs a training script, unchanged, and pauses it after every optimizer step until `bench.runner` continues it.

    python -m bench.step_by_step PORT SCRIPT [the script's arguments ...]

`bench.runner` listens at the port; with port 0 the script runs without pauses. A step ends when a torch optimizer has
stepped.
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
RSS_FILE = "BENCH_RSS"
"""Environment variable: the file for the `rss` of a script that runs without pauses."""


class StepGate:
    """Sends the duration of every step and waits for the answer."""

    def __init__(self, connection: Connection):
        """Args:
        connection: to the runner.
        """
        self.connection, self.wall, self.cpu = connection, time.perf_counter(), 0.0

    def __call__(self, optimizer: Any, *_: Any) -> None:
        """Called after each optimizer step."""
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


class HookInstaller(MetaPathFinder):
    """Registers the hook when the script itself imports torch's optimizers, so that its start-up time is its own."""

    def __init__(self, gate: StepGate):
        """Args:
        pace: is called after every step.
        """
        self.gate = gate

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The module's own spec; the hook is registered after its import."""
        if name != OPTIMIZERS:
            return None
        sys.meta_path.remove(self)
        spec: Any = find_spec(name)
        make = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            make(module)
            module.register_optimizer_step_post_hook(self.gate)

        spec.loader.exec_module = exec_module
        return spec


def peaks() -> dict[str, int]:
    """The peak memory of this process, in MiB."""
    import torch

    return {"rss": rss()} | ({"gpu": torch.cuda.max_memory_allocated() >> 20} if torch.cuda.is_available() else {})


def rss() -> int:
    """The peak resident memory, in MiB. On Linux from /proc, because ru_maxrss starts at the parent's value."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) >> 10  # type: ignore[index]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def main(port: str, script: str, *words: str) -> None:
    """Run the script as `__main__`."""
    if rss_file := os.environ.get(RSS_FILE):
        atexit.register(lambda: Path(rss_file).write_text(str(rss())))
    if int(port):
        sys.meta_path.insert(0, HookInstaller(StepGate(Client(("localhost", int(port))))))
    sys.argv = [script, *words]
    if Path(script).with_name("torchvision.py").is_file():  # a stand-in, for the script alone
        from transformers.utils import is_torchvision_available

        is_torchvision_available()
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
