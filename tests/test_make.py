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


def test_help_lists_every_target_with_a_word_about_it():
    said = make()
    assert re.findall(r"^  make ([a-z-]+) +\w", said, flags=re.MULTILINE) == TARGETS


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("help", "setup")])
def test_every_target_sets_up_a_fresh_machine_first(target, tmp_path):
    said = make("-n", target, f"VENV={tmp_path / 'venv'}")
    steps = [said.find(part) for part in ("-m venv", "pip install", "-c constraints.txt")]
    assert steps == sorted(steps)
    assert -1 not in steps


def test_a_pinned_version_satisfies_what_the_project_asks_for():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for asked in re.findall(r'^    "([a-z-]+)>=', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE):
        assert asked in {name.lower() for name in pinned}, f"{asked} has no tested version"


DEAD = "FAILED tests/test_x.py::test_x - worker 'gw0' crashed while running 'tests/test_x.py::test_x'"


@pytest.mark.parametrize(
    ("said", "asked", "ends_well"),
    [
        ("4000 passed", ["lint", "test-all", "test-slurm"], True),
        (DEAD, ["lint", "test-all", "test-all ARGS=--last-failed", "test-slurm"], True),
        ("FAILED tests/test_x.py::test_x - assert 1 == 2", ["lint", "test-all"], False),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is free")
def test_ci_is_the_commands_that_people_type_and_only_a_dead_process_has_its_test_tried_again(
    tmp_path, said, asked, ends_well
):
    (tmp_path / "make").write_text(f"""#!/bin/bash
echo "$*" >> {tmp_path}/asked
[ "$*" != test-all ] && exit
cat <<'SAID'
{said}
SAID
! grep -q FAILED <<< "{said}"
""")
    for name in ("chromium", "slurmctld"):  # there already: nothing is installed
        (tmp_path / name).write_text("#!/bin/bash\n")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == ends_well, done.stderr
    assert (tmp_path / "asked").read_text().splitlines() == asked
    assert said in done.stdout
