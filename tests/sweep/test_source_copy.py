"""What a job runs is a copy of what there was when it was submitted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinv.sweep import snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken(tmp_path, monkeypatch):
    own, groups = tmp_path / "own", tmp_path / "mine"
    own.mkdir()
    (own / "ownwords.py").write_text("VALUE = 1\n")
    (groups / "experiment").mkdir(parents=True)
    (groups / "experiment" / "mug.yaml").write_text("# @package _global_\nname: mug\n")
    monkeypatch.syspath_prepend(str(own))
    monkeypatch.setenv("TINV_TRUST", "ownwords")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    return lambda: snapshot.take(tmp_path / "sweep", config_dir=str(groups))


def test_the_copy_runs_by_itself_with_the_users_groups_and_packages(taken, tmp_path):
    copy = taken()
    (tmp_path / "mine" / "experiment" / "mug.yaml").write_text("# @package _global_\nname: jug\n")
    what = "import tinv.config as c, ownwords; print(c.__file__); print(c.CONF_DIR); print(ownwords.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", what], cwd=copy.folder, capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(Path(line).is_relative_to(copy.folder) for line in said), said
    assert (copy.config_dir / "experiment" / "mug.yaml").read_text().endswith("name: mug\n")
    assert copy.door.read_text() == (ROOT / "train.py").read_text()
    assert (copy.folder / "tinv" / "toybox" / "pipeline").is_dir()


def test_the_same_code_is_copied_once_and_an_edit_makes_another_copy(taken, tmp_path):
    first = taken()
    assert taken() == first
    (tmp_path / "own" / "ownwords.py").write_text("VALUE = 2\n")
    second = taken()
    assert second.folder != first.folder
    assert (first.folder / "ownwords.py").read_text() == "VALUE = 1\n"
    assert not list((tmp_path / "sweep" / "source").glob(".*"))


def test_the_commit_and_what_differs_from_it_are_kept(taken):
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("no checkout")
    folder = taken().folder
    told = json.loads((folder / "git.json").read_text())
    assert len(told["commit"]) == 40
    assert told["dirty"] == bool((folder / "changes.patch").read_text())


def test_a_command_that_is_no_script_of_the_users_gets_a_door(taken, monkeypatch):
    for argv in (["/usr/bin/tinv"], [str(ROOT / "tinv" / "cli" / "__main__.py")]):
        monkeypatch.setattr(sys, "argv", argv)
        assert "from tinv.front import main" in taken().door.read_text()
