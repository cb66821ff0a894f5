"""docs/early-stopping.md: every command on it is one that can be run, and every option is on it."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tinv.config.validate import CONF_DIR, build
from tinv.training.preflight import preflight

PAGE = (ROOT / "docs" / "early-stopping.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_heard_without_an_objection(compose, command):
    cfg = compose(*shlex.split(command))
    preflight(cfg)
    build(cfg.early_stopping)


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF_DIR / "stop").glob("*.yaml")))
def test_the_page_has_every_option(option):
    assert f"`{option}`" in PAGE


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF_DIR / "keep").glob("*.yaml")))
def test_the_page_has_every_choice_of_what_to_keep(option):
    assert f"`keep={option}`" in PAGE
