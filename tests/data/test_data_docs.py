"""The commands, YAML files and captions in docs/data.md work on the folder that the page shows."""

import re
import shlex

import pytest
from PIL import Image

from tests.conftest import ROOT
from tinv.config.compose import Groups
from tinv.config.validate import build, check

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("python train.py", "tinv preview"))
]
FILES = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def image_folders(tmp_path, monkeypatch):
    """The folders that the page names."""
    monkeypatch.chdir(tmp_path)
    for folder in ("my_mug", "my_mug_masks", "my_mugs/10_worn"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGBA", (48, 32), (200, 0, 0, 255)).save(tmp_path / folder / "front.png")
        Image.new("RGB", (32, 48)).save(tmp_path / folder / "on a shelf.jpg")
    (tmp_path / "my_mug" / "front.txt").write_text("{}, on a table\n")
    (tmp_path / "my_mug" / "on a shelf.txt").write_text("a photo of my-mug, worn\n")
    (tmp_path / "my_templates.txt").write_text("a photo of a {}, [caption]\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(compose, image_folders, command):
    cfg = compose(*shlex.split(command)[2:])
    if not cfg.data.folder.startswith("hf://"):
        assert build(cfg.data).captions


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("text", FILES)
def test_yaml_files_are_valid_data_options(compose, image_folders, text):
    (image_folders / "mine" / "data").mkdir(parents=True)
    (image_folders / "mine" / "data" / "mug.yaml").write_text(text)
    overrides = ["data=mug", "concept.placeholder_token=my-mug", "concept.initializer_token=mug"]
    cfg = check(Groups(str(image_folders / "mine")).compose(overrides, output_dir=str(image_folders)))
    assert build(cfg.data).captions


@pytest.mark.parametrize("caption", ["a photo of a my-mug, on a shelf", "my-mug, on a shelf", "my-mug, on a table"])
def test_captions_in_the_table_are_those_of_the_folder(compose, image_folders, caption):
    common = ["data.folder=my_mug", "concept.placeholder_token=my-mug", "concept.initializer_token=mug"]
    assert f"| {caption} |" in PAGE
    captions = [
        caption
        for source in ("files", "names", "templates+names")
        for caption in build(compose(*common, f"data.captions={source}").data).captions
    ]
    assert caption in captions
