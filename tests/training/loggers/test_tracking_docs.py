"""docs/tracking.md: its commands compose, and every choice, setting and sweep is on it."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tinv.config.signatures import signature
from tinv.config.validate import CONF_DIR

PAGE = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py ([^#\n]*)", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", [*COMMANDS, "+experiment=cat_toy logger=[tensorboard,wandb]"])
def test_every_command_composes(compose, command):
    cfg = compose(*shlex.split(command))
    assert "csv" in cfg.logger, "metrics.csv is there in any case"


def test_both_boards_can_be_had_at_once(compose):
    assert {"csv", "tensorboard", "wandb"} == set(compose("+experiment=cat_toy", "logger=[tensorboard,wandb]").logger)


def test_every_choice_setting_and_sweep_is_on_the_page():
    for path in (CONF_DIR / "logger").glob("*.yaml"):
        assert f"`logger={path.stem}`" in PAGE
    for name in signature("tinv.training.loggers.wandb.WandbLogger").parameters.keys() - {"dir", "tags"}:
        assert f"`logger.wandb.{name}`" in PAGE
    for path in (ROOT / "sweep" / "wandb").glob("*.yaml"):
        assert f"`{path.name}`" in PAGE
