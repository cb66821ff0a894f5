"""docs/evaluation.md: every command on it is one that can be typed, and every number is on it."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tinv.cli import _parser
from tinv.evaluation.table import COLUMNS
from tinv.toybox.toybench import NAMES
from tinv.toybox.toybench.benchmark import typed

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
LINES = [shlex.split(line, comments=True) for line in re.findall(r"^(?:tinv|python) .*$", PAGE, flags=re.MULTILINE)]
RUNS = [line[2:] for line in LINES if line[:2] == ["python", "train.py"]]
COMMANDS = [line[1:] for line in LINES if line[0] == "tinv"]
TOYBENCH = [line for line in COMMANDS if line[:2] == ["benchmark", "toybench"]]


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_every_run_is_heard_without_an_objection(compose, words):
    compose(*(re.sub(r",[^\]]*$", "", word) for word in words if word != "-m"))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_the_options_that_the_page_gives_it(words):
    assert callable(_parser().parse_args(words).command)


@pytest.mark.slow
@pytest.mark.parametrize("words", TOYBENCH, ids=" ".join)
def test_every_benchmark_of_toys_is_a_sweep_over_them(door, tmp_path, words):
    arguments = _parser().parse_args(words)
    done = door(*typed(tmp_path, arguments.toys, arguments.overrides), "sweep.dry_run=true")
    assert done.code == 0, done.err
    assert all(name in done.out for name in arguments.toys)
    assert f"{len(arguments.toys) * (6 if 'seed=0,1,2' in words else 1)} points to run" in done.out


def test_there_are_such_commands():
    assert min(len(RUNS), len(COMMANDS), len(TOYBENCH)) > 3


@pytest.mark.parametrize("name", [*COLUMNS, *NAMES, "matched", "recovery", "editability"])
def test_the_page_has_every_number_and_every_toy(name):
    assert f"`{name}`" in PAGE
