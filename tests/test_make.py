"""The commands of the Makefile."""

import re
import subprocess
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


def test_ci_is_the_same_commands_that_people_type():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert [line for line in script.read_text().splitlines() if line.startswith("make ")] == [
        "make lint test-all",
        "make test-slurm",
    ]
