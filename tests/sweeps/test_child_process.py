"""Points in processes of their own."""

import os
import sys
import time
from pathlib import Path

import pytest

from tinv.runs.reader import RunReader
from tinv.runs.record_status import write_status
from tinv.runs.status import Status
from tinv.sweeps.child_process import ChildProcess, finalize_status, point_command, quote_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


def python(*lines: str) -> list[str]:
    return [sys.executable, "-S", "-c", "\n".join(lines)]


def ended(child: ChildProcess) -> ChildProcess:
    child.wait()
    return child


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import sys; sys.exit(3)", "ended with exit code 3 and left no result"),
        ("", "ended with exit code 0 and left no result"),
    ],
)
def test_a_point_whose_process_wrote_no_result_has_failed_with_its_cause(tmp_path, line, reason):
    write_status(tmp_path, Status("running"))
    status = finalize_status(tmp_path, ended(ChildProcess(python(line), log=tmp_path / "log.txt")))
    assert status.status == "failed"
    assert reason in status.reason
    assert RunReader(tmp_path).status == status


def test_the_status_that_the_process_wrote_is_kept(tmp_path):
    write_status(tmp_path, Status("done", value=0.5))
    assert finalize_status(tmp_path, ended(ChildProcess(python("import sys; sys.exit(1)")))).value == 0.5


def test_the_output_of_a_process_is_in_its_log(tmp_path):
    ended(
        ChildProcess(
            python("import sys", "print('a')", "print('b', file=sys.stderr)"), log=tmp_path / "run" / "log.txt"
        )
    )
    assert sorted((tmp_path / "run" / "log.txt").read_text().split()) == ["a", "b"]


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path):
    lines = [
        "import os, signal, subprocess, sys, time",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "inner = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'",
        "other = subprocess.Popen([sys.executable, '-S', '-c', inner])",
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(other.pid) + chr(10))",
        "time.sleep(60)",
    ]
    child = ChildProcess(python(*lines))
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().endswith("\n")):
        time.sleep(0.02)
    child.terminate()
    child.stop(grace_s=0.1)
    assert finalize_status(tmp_path, child, interrupted=True).status == "interrupted"
    assert not _is_alive(int(pid.read_text()))


def _is_alive(pid: int) -> bool:
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return False
        time.sleep(0.02)
    return True


def test_the_command_of_a_point_has_the_script_of_the_sweep(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["there/train.py", "-m", "seed=1,2"])
    run = tmp_path / "it's here" / "0"
    command = point_command(["seed=1"], run, config_dir="mine")
    assert command[:4] == [sys.executable, "there/train.py", "--config-dir=mine", "seed=1"]
    assert command[4:] == [f"hydra.run.dir={quote_path(run)}", "hydra.mode=RUN"]
    monkeypatch.setattr(sys, "argv", ["bin/tinv-train"])
    assert point_command([], run, config_dir=None)[1:3] == ["-m", "tinv.training.main"]


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "a,b=[c]{d}", "ü", "10% (new)"])
def test_any_path_can_be_quoted_in_an_override(tmp_path, name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"hydra.run.dir={quote_path(tmp_path / name)}"])
    assert override.value() == (tmp_path / name).as_posix()
