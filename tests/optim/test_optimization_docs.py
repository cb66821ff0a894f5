"""docs/optimization.md: every command on it is one that can be run, and every option is on it."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tinv.config.validate import CONF_DIR, build
from tinv.training.try_optimizer import try_optimizer

PAGE = (ROOT / "docs" / "optimization.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_heard_without_an_objection(compose, command):
    cfg = compose(*shlex.split(command))
    try_optimizer(cfg, {"": build(cfg.embedding)})


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_the_page_has_every_option(group):
    for path in (CONF_DIR / group).glob("*.yaml"):
        assert f"`{path.stem}`" in PAGE


@pytest.mark.parametrize("setting", ["norm", "norm_strength", "ema", "average_last"])
def test_the_page_has_every_setting_that_moves_rows(setting):
    assert f"`embedding.{setting}" in PAGE
