"""`resume` selects the folder of a run and its checkpoint."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.checkpoint_files import write_checkpoint
from tinv.errors import UserError
from tinv.runs.layout import checkpoint_path, checkpoint_step, list_checkpoints
from tinv.runs.resume import choose_run_dir, find_checkpoint


def make_run(root_dir: Path, time: str, *steps: int, name: str = "cat") -> Path:
    run_dir = root_dir / name / time
    (run_dir / "checkpoints").mkdir(parents=True)
    for step in steps:
        write_checkpoint(checkpoint_path(run_dir, step))
    return run_dir


def test_runs_that_start_in_the_same_second_get_different_folders_below_their_name(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = {Path(path) for path in pool.map(lambda _: choose_run_dir(tmp_path, "cat"), range(16))}
    assert len(folders) == 16 and all(path.is_dir() and path.parent == tmp_path / "cat" for path in folders)


def test_checkpoints_are_sorted_by_step_newest_first(tmp_path):
    run = make_run(tmp_path, "2026-01-01_00-00-00", 500, 1000, 1_000_000)
    (run / "checkpoints" / ".step_000700.ckpt.1.part").touch()
    assert [checkpoint_step(path) for path in list_checkpoints(run)] == [1_000_000, 1000, 500]


def test_latest_is_the_newest_run_with_a_checkpoint_and_the_last_of_its_second(tmp_path):
    make_run(tmp_path, "2026-01-01_00-00-00", 500)
    for suffix in ("", "_2", "_10"):
        newest = make_run(tmp_path, f"2026-01-01_00-00-01{suffix}", 500, 1000)
    make_run(tmp_path, "2026-01-02_00-00-00")
    make_run(tmp_path, "2026-01-03_00-00-00", 500, name="dog")
    assert choose_run_dir(tmp_path, "cat", "latest") == choose_run_dir(tmp_path, "cat", "auto") == str(newest)
    for folder in (tmp_path / "cat", newest):
        assert find_checkpoint(folder, "latest") == checkpoint_path(newest, 1000)


def test_resume_takes_a_step_a_run_folder_or_a_file(tmp_path):
    first = make_run(tmp_path, "2026-01-01_00-00-00", 500)
    second = make_run(tmp_path, "2026-01-02_00-00-00", 1000)
    assert {choose_run_dir(tmp_path, "cat", resume) for resume in (500, "500", str(first))} == {str(first)}
    assert find_checkpoint(first, str(first)) == checkpoint_path(first, 500)
    file = checkpoint_path(second, 1000)
    assert choose_run_dir(tmp_path, "dog", str(file)) == str(second)
    assert find_checkpoint(second, str(file)) == file


def test_a_checkpoint_outside_of_a_run_folder_starts_a_new_folder(tmp_path):
    file = write_checkpoint(tmp_path / "given.ckpt")
    assert Path(choose_run_dir(tmp_path, "cat", str(file))).parent == tmp_path / "cat"
    assert find_checkpoint(tmp_path / "cat", str(file)) == file


@pytest.mark.parametrize("resume", ["latest", 500, "no/such/run", "."])
def test_a_missing_checkpoint_is_an_error(tmp_path, monkeypatch, resume):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"resume={resume}.*no run under"):
        choose_run_dir(tmp_path / "outputs", "cat", resume)


def test_the_error_lists_the_existing_steps(tmp_path):
    make_run(tmp_path, "2026-01-01_00-00-00", 500, 1000)
    with pytest.raises(UserError, match=r"resume=700.*: 500, 1000"):
        choose_run_dir(tmp_path, "cat", 700)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX errors")
def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"paths\.root_dir=.*file"):
        choose_run_dir(tmp_path / "file", "cat")
