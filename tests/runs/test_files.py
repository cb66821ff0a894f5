"""Files are written completely or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.runs.files import resolve_path, write_atomically, write_folder_atomically, write_json, write_text


def names(folder):
    return {path.name for path in folder.iterdir()}


def write_folder(path, name):
    with write_folder_atomically(path, marker="marker") as draft:
        (draft / "marker").touch()
        (draft / name).touch()


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "card.json"
    write_json(path, {"step": 1})
    with pytest.raises(RuntimeError), write_atomically(path) as draft:
        draft.write_text("incomplete")
        raise RuntimeError
    assert path.read_text() == '{\n  "step": 1\n}\n' and names(tmp_path) == {"card.json"}


def test_a_folder_replaces_only_a_folder_of_its_kind(tmp_path):
    write_folder(tmp_path / "a", "first")
    write_folder(tmp_path / "a", "second")
    assert names(tmp_path / "a") == {"marker", "second"}
    (tmp_path / "b").mkdir()
    write_folder(tmp_path / "b", "first")
    (tmp_path / "b/marker").unlink()
    with pytest.raises(UserError, match="it holds other files"):
        write_folder(tmp_path / "b", "second")
    assert names(tmp_path) == {"a", "b"}


def test_a_failed_folder_keeps_the_old_one_and_leaves_no_other(tmp_path, monkeypatch):
    write_folder(tmp_path / "a", "first")
    with pytest.raises(RuntimeError), write_folder_atomically(tmp_path / "a", marker="marker") as draft:
        (draft / "incomplete").touch()
        raise RuntimeError
    real = Path.replace

    def replace(self, target):
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(UserError, match="the disk is full"):
        write_folder(tmp_path / "a", "second")
    assert names(tmp_path) == {"a"} and names(tmp_path / "a") == {"marker", "first"}


def test_the_umask_sets_the_permissions_of_a_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path):
    message = r"cannot write .*big: the disk is full"
    with pytest.raises(UserError, match=message), write_atomically(tmp_path / "big"), open("/dev/full", "w") as full:
        full.write("x" * 100_000)
    assert not names(tmp_path)


def test_a_file_size_limit_leaves_no_file(tmp_path):
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
    assert not names(tmp_path)


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path):
    (tmp_path / "outputs").touch()
    with pytest.raises(UserError, match=r"cannot write .*paths\.root_dir"):
        write_text(tmp_path / "outputs" / "run" / "x", "y")


def test_a_package_path_is_resolved(tmp_path):
    assert resolve_path("pkg://tinv/runs/files.py").is_file()
    with pytest.raises(UserError, match="the package 'nowhere' is not installed"):
        resolve_path("pkg://nowhere/x")
