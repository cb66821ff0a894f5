"""What is freed between things that stay goes back to the system."""

import subprocess
import sys

import pytest

from tinv.data import encode_latents as heap

HOLES = """
import ctypes
from tinv.data.encode_latents import release_free_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

large, small = [], []
for _ in range(1000):
    large.append(libc.malloc(100_000))
    ctypes.memset(large[-1], 1, 100_000)
    small.append(libc.malloc(64))
full = held()
for place in large:
    libc.free(place)
kept = held()
release_free_memory()
print(full, kept, held())
"""


@pytest.mark.skipif(heap._trim() is None or not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_holes_between_what_stays_are_given_back():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, kept, left = (int(word) for word in done.stdout.split())
    assert full - kept < 10 and full - left > 80


def test_where_the_c_library_has_no_such_call_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap, "_trim", lambda: None)
    assert heap.release_free_memory() is None
