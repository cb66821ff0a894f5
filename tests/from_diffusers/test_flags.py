"""The table lists the flags of the scripts, and is the table of the documentation."""

import re
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from tests import composing
from tests.conftest import ROOT
from tests.from_diffusers.scripts import REFERENCE, SCRIPTS, read_flags
from tinv.config.override_errors import find_problems
from tinv.from_diffusers import parse_command, read_command, translate
from tinv.from_diffusers.command_line import flags_of
from tinv.from_diffusers.flags import FLAGS, SECTIONS
from tinv.from_diffusers.scripts import FILE_NAMES
from tinv.from_diffusers.table import table

PAGE = (ROOT / "docs/from-diffusers.md").read_text(encoding="utf-8")
REQUIRED = [
    *("model=local", "model.pretrained=folder"),
    *("concept.placeholder_token=new-word", "concept.initializer_token=toy", "data.folder=images"),
]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| `--[a-z]", line)
]


def test_the_lists_are_complete():
    assert {script: len(set(names)) for script, names in SCRIPTS.items()} == {
        "sd": 48,
        "sdxl": 46,
        "flax": 30,
        "multi_token": 47,
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_table_has_every_flag_of_a_script_and_no_other(script):
    assert sorted(flag.name for flag in flags_of(script)) == sorted(SCRIPTS[script])


@pytest.mark.skipif(not REFERENCE, reason="TINV_REFERENCE does not name textual_inversion.py of diffusers")
@pytest.mark.parametrize("script", ["sd", "sdxl", "flax"])
def test_types_and_defaults_are_those_of_the_script(script):
    assert {
        flag.name: {"kind": flag.kind.__name__, "default": flag.default_of(script), "required": flag.required}
        for flag in flags_of(script)
    } == read_flags(Path(str(REFERENCE)).with_name(FILE_NAMES[script]))


@pytest.mark.parametrize("title", SECTIONS)
def test_the_documentation_has_the_same_table(title):
    assert f"### {title}\n\n{table(SECTIONS[title])}" in PAGE, "python -m tinv.from_diffusers.table prints the tables"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.findall(r"--([a-z0-9_]+)", row[0])[0])
def test_every_row_of_the_documentation_composes(row):
    overrides = re.findall(r"`([~+]?[a-z_.0-9/]+(?:=[^`]*)?)`", row[3 if len(row) == 5 else 1])
    keys = {override.partition("=")[0] for override in overrides}
    required = [override for override in REQUIRED if override.partition("=")[0] not in keys]
    problems = find_problems(composing.groups(), [*required, *overrides])
    HydraConfig.instance().cfg = None
    assert not problems
    assert overrides or row[-1], "a flag without an equivalent needs a reason"


def test_the_documented_command_is_translated_as_documented():
    starts = ("accelerate", "python train.py")
    theirs, ours = (re.search(rf"```\n({start}.*?)\n```", PAGE, re.DOTALL)[1] for start in starts)
    assert str(translate(parse_command(read_command(theirs)), composing.groups())) == ours


def test_flags_have_unique_names():
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
