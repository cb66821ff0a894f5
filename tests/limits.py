"""Limits the memory and the time of a block."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bounded(mebibytes: int = 200, seconds: float = 2) -> Iterator[None]:
    """Checks the additional memory that the block takes at its peak, and its processor time.

    Mapping a large file takes no memory, but a limit on the address space protects the machine.
    """
    started = time.process_time()
    if sys.platform == "linux":
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 6 * 2**30, before[1]))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now the present size
        size = _memory("VmRSS")
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        assert _memory("VmHWM") - size < mebibytes * 2**20
    else:
        yield
    assert time.process_time() - started < seconds


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1])
