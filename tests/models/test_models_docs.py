"""docs/models.md: its commands can be run, its table is conf/model, and its line of code does what it says."""

import copy
import re
import shlex

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.models.published import published
from tests.models.test_sdxl import WORD, encoded, ours, rows, with_words
from tests.tiny import tiny_images
from tinv.config.validate import CONF_DIR

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_heard_without_an_objection(compose, tmp_path, command):
    tiny_images(tmp_path / "my_mug")
    assert compose(*shlex.split(command)).model.pretrained


@pytest.mark.parametrize("path", sorted((CONF_DIR / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_table_has_every_model_and_where_it_comes_from(path):
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{path.stem}`"))
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem not in ("toybox", "local"):
        assert f"`{settings['pretrained']}`" in row
        assert re.fullmatch(r"[0-9a-f]{40}", settings["revision"])


@pytest.mark.parametrize("path", sorted((CONF_DIR / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_page_has_every_setting(path):
    for setting in yaml.safe_load(path.read_text(encoding="utf-8")):
        assert setting == "_target_" or f"`model.{setting}" in PAGE


def test_the_line_for_diffusers_moves_the_pooled_vector_to_the_end():
    (line,) = re.findall(r"^\s*(pipe\.\S+ = \S+)$", PAGE, flags=re.MULTILINE)
    pipe = with_words(copy.deepcopy(published("sdxl")), rows())
    pooled = ours(published("sdxl")).encode_text([WORD], rows()).pooled
    assert not torch.equal(encoded(pipe, [WORD])[1], pooled)
    exec(line, {"pipe": pipe})
    assert torch.equal(encoded(pipe, [WORD])[1], pooled)
