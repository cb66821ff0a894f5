import errno
import os
import stat
from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.runs.files import atomic, atomic_folder, locate, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "card.json"
    write_json(path, {"step": 1})
    with pytest.raises(RuntimeError), atomic(path) as draft:
        draft.write_text("half of a")
        raise RuntimeError
    assert path.read_text() == '{\n  "step": 1\n}\n'
    assert [child.name for child in tmp_path.iterdir()] == ["card.json"]


def folder_of(path, name):
    with atomic_folder(path, mark="mark") as draft:
        (draft / "mark").write_text("")
        (draft / name).write_text("")


def test_a_folder_takes_the_place_of_its_like_only(tmp_path):
    folder_of(tmp_path / "a", "first")
    folder_of(tmp_path / "a", "second")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"mark", "second"}
    (tmp_path / "b").mkdir()
    folder_of(tmp_path / "b", "first")
    (tmp_path / "b/mark").unlink()
    with pytest.raises(UserError, match="something else is there"):
        folder_of(tmp_path / "b", "second")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    folder_of(tmp_path / "a", "first")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "a", mark="mark") as draft:
        (draft / "half").write_text("")
        raise RuntimeError
    real = Path.replace

    def replace(self, target):
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(UserError, match="the disk is full"):
        folder_of(tmp_path / "a", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"mark", "first"}


def test_files_are_readable_by_the_group_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to be a full disk")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    path = tmp_path / "big"
    with (
        pytest.raises(UserError, match=r"cannot write .*big: the disk is full"),
        atomic(path),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)
    assert not list(tmp_path.iterdir())


def test_a_size_limit_hit_halfway_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource", reason="Windows has no file size limits")
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write"):
            write_text(tmp_path / "big", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*paths\.root_dir"):
        write_text(tmp_path / "outputs" / "run" / "x", "y")


def test_package_places_are_found_wherever_the_package_is():
    assert (locate("pkg://tinv/data/templates/object.txt")).is_file()
    with pytest.raises(UserError, match="no package 'nowhere' is installed"):
        locate("pkg://nowhere/x")
