import subprocess
import sys

import pytest

from tinv.data import encode_latents

FRAGMENT_THE_HEAP = """
import ctypes
from tinv.data.encode_latents import release_free_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

large, small = [], []
for _ in range(1000):
    large.append(libc.malloc(100_000))
    ctypes.memset(large[-1], 1, 100_000)
    small.append(libc.malloc(10_000))
full = resident_mib()
for pointer in large:
    libc.free(pointer)
freed = resident_mib()
release_free_memory()
print(full, freed, resident_mib())
"""


@pytest.mark.skipif(
    encode_latents._malloc_trim() is None or not sys.platform.startswith("linux"), reason="needs glibc's malloc_trim"
)
def test_release_free_memory_returns_holes_in_the_heap():
    result = subprocess.run([sys.executable, "-c", FRAGMENT_THE_HEAP], capture_output=True, text=True, check=True)
    full, freed, released = (int(number) for number in result.stdout.split())
    assert full - freed < 10 and full - released > 80


def test_release_free_memory_without_malloc_trim(monkeypatch):
    monkeypatch.setattr(encode_latents, "_malloc_trim", lambda: None)
    encode_latents.release_free_memory()
