"""docs/multiple-concepts.md: its commands and its file compose, and what it says of two words can be read in the code."""

import re
import shlex

import pytest
from PIL import Image

from tests.conftest import ROOT
from tinv.config.compose import Groups
from tinv.config.validate import build, check

PAGE = (ROOT / "docs" / "multiple-concepts.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("python train.py")]
(FILE,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_mug", "my_pot"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (48, 32), (200, 0, 0)).save(tmp_path / folder / "front.png")
        (tmp_path / folder / "front.txt").write_text("{}, on a table\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_two_concepts(compose, pictures, command):
    cfg = compose(*shlex.split(command)[2:])
    assert len(cfg.extra_concepts) == 1
    assert all(build(node.data).captions for node in (cfg, *cfg.extra_concepts.values()))


def test_the_file_is_an_experiment(compose, pictures):
    (pictures / "mine" / "experiment").mkdir(parents=True)
    (pictures / "mine" / "experiment" / "kitchen.yaml").write_text(FILE)
    groups = Groups(str(pictures / "mine"))
    cfg = check(groups.compose(["+experiment=kitchen", "model=toybox"], output_dir=str(pictures)))
    assert (
        cfg.extra_concepts.pot.lr,
        cfg.extra_concepts.pot.embedding.num_vectors,
        cfg.extra_concepts.pot.data.flip,
    ) == (2e-3, 2, True)
    assert list(build(cfg.extra_concepts.pot.data).captions) == ["my-pot, on a table"]
    assert any("my-mug" in caption for caption in build(cfg.data).captions)
