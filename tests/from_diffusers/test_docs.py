"""docs/from-diffusers.md says what the translator does, and every row of its tables composes."""

import re
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from tests import composing
from tinv.config.compose import Groups
from tinv.config.override_errors import find_problems
from tinv.from_diffusers import read, translate, understand
from tinv.from_diffusers.flags import FLAGS, SECTIONS
from tinv.from_diffusers.table import table

PAGE = (Path(__file__).parent.parent.parent / "docs/from-diffusers.md").read_text(encoding="utf-8")
FILLED = [
    *("model=local", "model.pretrained=folder"),
    *("concept.placeholder_token=new-word", "concept.initializer_token=toy", "data.folder=pictures"),
]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| `--[a-z]", line)
]
SETTINGS = r"`([~+]?[a-z_.0-9/]+(?:=[^`]*)?)`"


@pytest.fixture(scope="module")
def groups() -> Groups:
    return composing.groups()


def settings_of(row: list[str]) -> list[str]:
    (column,) = (i for i, name in enumerate(("flag", "in", "default", "in tinv")) if name == "in tinv")
    return re.findall(SETTINGS, row[column if len(row) == 5 else 1])


@pytest.mark.parametrize("title", SECTIONS)
def test_the_tables_are_those_of_the_translator(title):
    assert f"### {title}\n\n{table(SECTIONS[title])}" in PAGE, "python -m tinv.from_diffusers.table prints them"


def test_every_flag_of_every_script_has_a_row():
    named = {name for row in ROWS for name in re.findall(r"--([a-z0-9_]+)", row[0])}
    assert named >= {flag.name for flag in FLAGS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.findall(r"--([a-z0-9_]+)", row[0])[0])
def test_every_row_composes(row, groups):
    settings = settings_of(row)
    given = {setting.partition("=")[0] for setting in settings}
    filled = [filling for filling in FILLED if filling.partition("=")[0] not in given]
    problems = find_problems(groups, [*filled, *settings])
    HydraConfig.instance().cfg = None
    assert not problems, [problem.text for problem in problems]
    assert settings or row[-1], "a flag without a setting has a reason"


def test_the_two_commands_side_by_side_are_one_and_its_translation(groups):
    starts = ("accelerate", "python train.py")
    theirs, ours = (re.search(rf"```\n({start}.*?)\n```", PAGE, re.DOTALL) for start in starts)
    assert theirs and ours
    assert str(translate(understand(read(theirs[1])), groups)) == ours[1]


def test_the_settings_named_in_the_text_exist(groups):
    prose = re.sub(r"```.*?```|^\|.*?$", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    named = re.findall(SETTINGS, prose)
    settings = [text for text in named if re.match(r"(optimizer|trainer|data|hub|model|callbacks)[.=]", text)]
    overrides = [setting if "=" in setting else f"{setting}=null" for setting in settings]
    problems = [problem.text for problem in find_problems(groups, [*FILLED, *overrides])]
    HydraConfig.instance().cfg = None
    assert len(settings) > 5
    assert not [text for text in problems if "must be" not in text]
