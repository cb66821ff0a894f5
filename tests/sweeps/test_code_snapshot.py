"""Jobs run a copy of the code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tinv
from tinv.errors import UserError
from tinv.sweeps import code_snapshot as snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def take_snapshot(tmp_path, monkeypatch):
    own, groups = tmp_path / "own", tmp_path / "mine"
    own.mkdir()
    (own / "ownpackage.py").write_text("VALUE = 1\n")
    (groups / "experiment").mkdir(parents=True)
    (groups / "experiment" / "mug.yaml").write_text("# @package _global_\nname: mug\n")
    monkeypatch.syspath_prepend(str(own))
    monkeypatch.setenv("TINV_TARGETS", "ownpackage")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    return lambda: snapshot.take_snapshot(tmp_path / "sweep", config_dir=str(groups))


def test_the_copy_contains_the_users_groups_and_packages(take_snapshot, tmp_path):
    copy = take_snapshot()
    (tmp_path / "mine" / "experiment" / "mug.yaml").write_text("# @package _global_\nname: jug\n")
    code = (
        "import tinv.config.validate as c, ownpackage; print(c.__file__); print(c.CONF_DIR); print(ownpackage.__file__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=copy.folder, capture_output=True, text=True, check=True
    ).stdout.split()
    assert all(Path(line).is_relative_to(copy.folder) for line in result), result
    assert (copy.config_dir / "experiment" / "mug.yaml").read_text().endswith("name: mug\n")
    assert copy.script.read_text() == (ROOT / "train.py").read_text()
    assert (copy.folder / "tinv" / "toybox" / "pipeline").is_dir()


def test_the_same_code_is_copied_once_and_edited_code_again(take_snapshot, tmp_path):
    first = take_snapshot()
    assert take_snapshot() == first
    (tmp_path / "own" / "ownpackage.py").write_text("VALUE = 2\n")
    second = take_snapshot()
    assert second.folder != first.folder
    assert (first.folder / "ownpackage.py").read_text() == "VALUE = 1\n"
    assert not list((tmp_path / "sweep" / "source").glob(".*"))


def test_a_secret_in_the_users_groups_is_not_copied(take_snapshot, tmp_path):
    (tmp_path / "mine" / "other.yml").write_text(f"key: {(token := 'hf_' + 'aB3' * 10)}\n")
    with pytest.raises(UserError, match=r"other\.yml: contains an access token.*The sweep would copy it") as error:
        take_snapshot()
    assert token not in str(error.value) and not (tmp_path / "sweep").exists()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of tinv."""
    folder = tmp_path / "checkout" / "tinv"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(tinv, "__file__", str(folder / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def git(folder, *arguments):
    own = ("user.name=a", "user.email=a@b.c", "commit.gpgsign=false", "core.autocrlf=false")
    settings = [word for setting in own for word in ("-c", setting)]
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_and_the_changes_are_saved(take_snapshot, package):
    git(package, "init", "--quiet")
    git(package, "add", ".")
    git(package, "commit", "--quiet", "--message", "one")
    commit = git(package, "rev-parse", "HEAD")
    clean = take_snapshot().folder
    assert json.loads((clean / "git.json").read_text()) == {"commit": commit, "dirty": False}
    assert (clean / "changes.patch").read_text() == ""
    (package / "__init__.py").write_text("VALUE = 2\n")
    edited = take_snapshot().folder
    assert json.loads((edited / "git.json").read_text()) == {"commit": commit, "dirty": True}
    assert "-VALUE = 1\n+VALUE = 2\n" in (edited / "changes.patch").read_text()


@pytest.mark.parametrize("installed_in_a_checkout", [False, True])
def test_code_that_git_does_not_track_has_no_commit(take_snapshot, package, installed_in_a_checkout):
    if installed_in_a_checkout:
        (package.parent / "theirs.py").touch()
        git(package.parent, "init", "--quiet")
        git(package.parent, "add", "theirs.py")
        git(package.parent, "commit", "--quiet", "--message", "one")
    copy = take_snapshot().folder
    assert (copy / "tinv" / "__init__.py").is_file()
    assert not (copy / "git.json").exists()


def test_a_command_that_is_not_a_script_gets_one(take_snapshot, monkeypatch):
    for argv in (["/usr/bin/tinv"], [str(ROOT / "tinv" / "cli" / "__main__.py")]):
        monkeypatch.setattr(sys, "argv", argv)
        assert "from tinv.training.main import main" in take_snapshot().script.read_text()
