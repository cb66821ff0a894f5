"""docs/methods.md: its commands can be run, its words are those that there are; and so are the points of its study."""

import re
import shlex
import subprocess
import sys
from math import prod
from typing import get_args

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from tests.conftest import ROOT
from tinv.config.compose import Groups
from tinv.config.validate import CONF_DIR, check
from tinv.embeddings.config import Init, Norm
from tinv.training.main import register
from tinv.training.preflight import preflight

PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
SWEEP = ROOT / "sweep"
COMMANDS = re.findall(r"^python train\.py (\+.*)$", PAGE, flags=re.MULTILINE)
STUDIES = re.findall(r"^python train\.py (.*--config-dir sweep (?!.*dry_run).*)$", PAGE, flags=re.MULTILINE)
"""Without the one that lists every point, which tests/sweeps/test_studies.py does."""
STUDY = yaml.safe_load((SWEEP / "study" / "methods.yaml").read_text(encoding="utf-8"))
COSTS = {
    name: float(times)
    for names, times in re.findall(r"^\| ([`\w, ]+) \| ([\d.]+) \([\d.]+ to", PAGE, flags=re.MULTILINE)
    for name in re.findall(r"\w+", names)
}
STUDIED = ["+study=methods", "hydra.mode=RUN"]
SWEPT = {key: str(values) for key, values in STUDY["hydra"]["sweeper"]["params"].items()}
METHODS = SWEPT["+method"].replace(" ", "").split(",")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_heard_without_an_objection(compose, command):
    compose(*shlex.split(command))


@pytest.mark.slow
@pytest.mark.parametrize("command", STUDIES)
def test_every_command_of_a_study_lists_its_points(door, command):
    """What was typed of `concept.name`, `seed` and `+method` stands for what the file says."""
    words = [str(SWEEP) if word == "sweep" else word for word in shlex.split(command)]
    done = door(*words, "sweep.dry_run=true")
    assert done.code == 0, done.err
    typed = dict(word.split("=") for word in words if word.split("=")[0] in SWEPT)
    points = prod(len(values.split(",")) for values in (SWEPT | typed).values())
    assert f"{points} of {points} points to run" in done.out
    assert all(name in done.out for values in typed.values() if "," in values for name in values.split(","))


@pytest.mark.slow
def test_the_commands_that_measure_the_study_take_what_the_page_gives_them(tmp_path):
    """The folder is empty: that is all they have to say against it."""
    (tmp_path / "sweep.csv").write_text("method,status,folder\n")
    lines = re.findall(r"^python (-m tinv\.toybench\.fidelity|sweep/paired\.py) (.*)$", PAGE, flags=re.MULTILINE)
    lines = [line for line in lines if "<time>" in line[1]]
    assert len(lines) == 2
    for program, rest in lines:
        places = {"outputs/study_methods/<time>": tmp_path, "sweep/results/methods.jsonl": tmp_path / "kept.jsonl"}
        words = [*shlex.split(program), *(str(places.get(word, word)) for word in shlex.split(rest))]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert re.search("holds no learned_embeds|no run with method=plain has been measured", done.stderr), done.stderr


@pytest.mark.parametrize("words", re.findall(r"^python sweep/paired\.py (sweep/results/.*)$", PAGE, flags=re.MULTILINE))
def test_the_tables_of_the_page_are_made_of_the_figures_that_are_kept(words):
    done = subprocess.run(
        [sys.executable, "sweep/paired.py", *shlex.split(words)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("against it", "against plain") in PAGE


@pytest.mark.parametrize("group", ["loss", "regularizer", "timestep_sampler"])
def test_the_page_has_every_word_of_the_groups(group):
    for path in (CONF_DIR / group).glob("*.yaml"):
        assert re.search(rf"^\| `({group}=)?{path.stem}`", PAGE, flags=re.MULTILINE), path.stem


@pytest.mark.parametrize("word", [*get_args(Init), *get_args(Norm)])
def test_the_page_has_every_start_and_length(word):
    assert any(f"`{word}`" in line for line in PAGE.splitlines() if line.startswith("|"))


def test_the_study_has_every_method_once():
    assert sorted(METHODS) == sorted(path.stem for path in (SWEEP / "method").glob("*.yaml"))


@pytest.fixture(scope="module")
def groups():
    register()
    yield Groups(str(SWEEP))
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def plain(groups):
    return check(groups.compose(STUDIED))


@pytest.mark.parametrize("method", METHODS)
def test_every_point_of_the_study_says_something_else(groups, plain, method):
    cfg = check(groups.compose([*STUDIED, f"+method={method}"]))
    assert (cfg == plain) == (method == "plain")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_with_dearer_steps_makes_fewer_so_that_all_take_the_same_time(groups, method):
    """What a step costs is in a table of the page; what is not there costs as much as a plain one."""
    whole = check(groups.compose([*STUDIED, "+method=plain"])).trainer.max_steps
    steps = check(groups.compose([*STUDIED, f"+method={method}"])).trainer.max_steps
    assert steps == pytest.approx(whole / COSTS.get(method, 1.0), rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_point_of_the_study_passes_everything_that_is_checked_before_a_model_loads(groups, method):
    assert len(preflight(check(groups.compose([*STUDIED, f"+method={method}"])))) == 1
