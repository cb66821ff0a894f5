"""docs/models.md: its commands compose, and its line of code does what it says. conf/model pins revisions."""

import copy
import re
import shlex

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.models.published import published
from tests.models.test_stable_diffusion_xl import PROMPT, encode, model_of, random_vectors, with_vectors
from tests.tiny import tiny_images
from tinv.config.validate import CONF_DIR

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python train\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(compose, tmp_path, command):
    tiny_images(tmp_path / "my_mug")
    assert compose(*shlex.split(command)).model.pretrained


@pytest.mark.parametrize("name", ["sd14", "sd15", "sd21", "sdxl"])
def test_the_revision_of_every_published_model_is_a_commit(name):
    settings = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[0-9a-f]{40}", settings["revision"])


def test_the_line_for_diffusers_moves_the_pooled_vector_to_the_end_of_text():
    (line,) = re.findall(r"^\s*(pipe\.\S+ = \S+)$", PAGE, flags=re.MULTILINE)
    pipe = with_vectors(copy.deepcopy(published("sdxl")), random_vectors())
    pooled = model_of(published("sdxl")).encode_text([PROMPT], random_vectors()).pooled
    assert not torch.equal(encode(pipe, [PROMPT])[1], pooled)
    exec(line, {"pipe": pipe})
    assert torch.equal(encode(pipe, [PROMPT])[1], pooled)
