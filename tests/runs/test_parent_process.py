"""A process ends when the tinv process that started it has ended, even by SIGKILL."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tinv.runs.parent_process import is_alive

CHILD = """if True:
    import time
    from tinv.runs.parent_process import end_with_parent
    {before}
    end_with_parent()
    print("ready", flush=True)
    time.sleep(300)"""
PARENT = """if True:
    import os, subprocess, sys
    from tinv.runs.parent_process import parent_variable
    env = {{**os.environ, **parent_variable(), **{env!r}}}
    child = subprocess.Popen([sys.executable, "-c", {child!r}], env=env, start_new_session=True, stdout=subprocess.PIPE)
    {wait}
    print(child.pid, flush=True)
    child.wait()"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("before", "env", "wait"),
    [
        ("", {}, "child.stdout.readline()"),
        ("time.sleep(2)", {}, ""),  # the parent has ended before the child looks for it
        (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            {"LOCAL_RANK": "1"},
            "child.stdout.readline()",
        ),
    ],
    ids=["running", "starting", "second process of a run"],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGKILL", None)])
def test_a_child_ends_with_its_parent(before, env, wait, number):
    code = PARENT.format(child=CHILD.format(before=before), env=env, wait=wait)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.send_signal(number)  # a zombie until wait()
        deadline = time.monotonic() + 30
        while is_alive(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_process_that_no_tinv_process_started_has_no_parent_to_end_with():
    code = (
        "import threading; from tinv.runs.parent_process import *; end_with_parent(); print(threading.active_count())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "1"
