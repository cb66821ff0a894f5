"""The commands of the Makefile."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[1].split()


def make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_describes_every_target():
    result = make()
    assert re.findall(r"^  make ([a-z-]+) +\w", result, flags=re.MULTILINE) == TARGETS


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("help", "setup")])
def test_every_target_first_sets_up_a_fresh_machine(target, tmp_path):
    result = make("-n", target, f"VENV={tmp_path / 'venv'}")
    steps = [result.find(part) for part in ("-m venv", "pip install", "-c constraints.txt")]
    assert steps == sorted(steps)
    assert -1 not in steps


def test_every_dependency_has_a_tested_version():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for package in re.findall(r'^    "([a-z-]+)>=', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE):
        assert package in {name.lower() for name in pinned}, f"{package} has no tested version"


CRASH = "FAILED tests/test_x.py::test_x - worker 'gw0' crashed while running 'tests/test_x.py::test_x'"


@pytest.mark.parametrize(
    ("output", "targets", "succeeds"),
    [
        ("4000 passed", ["lint", "test-all", "test-quantization", "test-slurm"], True),
        (CRASH, ["lint", "test-all", "test-all ARGS=--last-failed", "test-quantization", "test-slurm"], True),
        ("FAILED tests/test_x.py::test_x - assert 1 == 2", ["lint", "test-all"], False),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux commands")
def test_ci_runs_the_targets_and_repeats_only_the_tests_of_a_crashed_worker(tmp_path, output, targets, succeeds):
    (tmp_path / "make").write_text(f"""#!/bin/bash
echo "$*" >> {tmp_path}/targets
[ "$*" != test-all ] && exit
cat <<'OUTPUT'
{output}
OUTPUT
! grep -q FAILED <<< "{output}"
""")
    for name in ("chromium", "slurmctld"):  # so that nothing is installed
        (tmp_path / name).write_text("#!/bin/bash\n")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == succeeds, done.stderr
    assert (tmp_path / "targets").read_text().splitlines() == targets
    assert output in done.stdout
