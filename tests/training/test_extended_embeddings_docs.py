"""docs/extended-embeddings.md: its commands can be run, and its table has every kind of word."""

import argparse
import re
import shlex

import pytest

from tests.conftest import ROOT
from tinv.cli import convert
from tinv.config.validate import CONF_DIR, build

PAGE = (ROOT / "docs" / "extended-embeddings.md").read_text(encoding="utf-8")
CONVERSIONS = re.findall(r"^tinv convert (.*)$", PAGE, flags=re.MULTILINE)
COMMANDS = re.findall(r"^python train\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_heard_without_an_objection(compose, command):
    settings = build(compose(*shlex.split(command)).embedding)
    assert settings.stages > 1 or settings.layers or settings.negative


@pytest.mark.parametrize("command", CONVERSIONS)
def test_every_conversion_has_a_part(command):
    parser = argparse.ArgumentParser()
    convert.add(parser.add_subparsers())
    assert parser.parse_args(["convert", *shlex.split(command)]).part


@pytest.mark.parametrize(
    "path",
    [*(CONF_DIR / "embedding").glob("per_*.yaml"), CONF_DIR / "embedding" / "negative.yaml"],
    ids=lambda path: path.stem,
)
def test_the_table_has_every_kind_of_word(path):
    assert re.search(rf"^\| `{path.stem}`", PAGE, flags=re.MULTILINE)
