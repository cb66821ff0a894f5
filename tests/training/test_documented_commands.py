"""The commands of docs/extended-embeddings.md and docs/multiple-concepts.md can be run."""

import argparse
import re
import shlex

import pytest
from PIL import Image

from tests.conftest import ROOT
from tinv.cli import convert
from tinv.config.compose import Groups
from tinv.config.validate import build, check

EXTENDED, MULTIPLE = (
    (ROOT / "docs" / page).read_text(encoding="utf-8").replace("\\\n", "")
    for page in ("extended-embeddings.md", "multiple-concepts.md")
)
TRAIN = re.compile(r"^python train\.py (.*)$", flags=re.MULTILINE)
CONVERT = re.compile(r"^tinv convert (.*)$", flags=re.MULTILINE)


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    """The folders of images that the examples use."""
    monkeypatch.chdir(tmp_path)
    for folder in ("my_mug", "my_pot"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (48, 32), (200, 0, 0)).save(tmp_path / folder / "front.png")
        (tmp_path / folder / "front.txt").write_text("{}, on a table\n")
    return tmp_path


@pytest.mark.parametrize("command", TRAIN.findall(EXTENDED))
def test_commands_train_extended_embeddings(compose, command):
    embedding = build(compose(*shlex.split(command)).embedding)
    assert embedding.timestep_stages > 1 or embedding.per_layer or embedding.num_negative_vectors


@pytest.mark.parametrize("command", CONVERT.findall(EXTENDED))
def test_conversions_choose_a_part(command):
    parser = argparse.ArgumentParser()
    convert.add(parser.add_subparsers())
    assert parser.parse_args(["convert", *shlex.split(command)]).part


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", TRAIN.findall(MULTIPLE))
def test_commands_train_two_concepts(compose, kitchen, command):
    cfg = compose(*shlex.split(command))
    assert len(cfg.extra_concepts) == 1
    assert all(build(node.data).captions for node in (cfg, *cfg.extra_concepts.values()))


def test_yaml_example_is_an_experiment(compose, kitchen):
    (example,) = re.findall(r"^```yaml\n(.*?)^```", MULTIPLE, flags=re.MULTILINE | re.DOTALL)
    (kitchen / "mine" / "experiment").mkdir(parents=True)
    (kitchen / "mine" / "experiment" / "kitchen.yaml").write_text(example)
    groups = Groups(str(kitchen / "mine"))
    cfg = check(groups.compose(["+experiment=kitchen", "model=toybox"], output_dir=str(kitchen)))
    pot = cfg.extra_concepts.pot
    assert (pot.lr, pot.embedding.num_vectors, pot.data.flip) == (2e-3, 2, True)
    assert list(build(pot.data).captions) == ["my-pot, on a table"]
    assert any("my-mug" in caption for caption in build(cfg.data).captions)
