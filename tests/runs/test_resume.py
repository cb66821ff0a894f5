"""Where runs live, and what `resume` means."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tinv.errors import UserError
from tinv.runs.layout import checkpoint_step, list_checkpoints
from tinv.runs.resume import choose_run_dir, find_checkpoint


def a_run(outputs: Path, time: str, *steps: int, name: str = "cat") -> Path:
    run = outputs / name / time
    (run / "checkpoints").mkdir(parents=True)
    for step in steps:
        (run / "checkpoints" / f"step_{step:06d}.ckpt").touch()
    return run


def test_a_new_run_lives_under_its_name_and_time(tmp_path):
    folder = Path(choose_run_dir(tmp_path, "cat"))
    assert folder.is_dir()
    assert folder.parent == tmp_path / "cat"


def test_runs_that_start_in_the_same_second_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: choose_run_dir(tmp_path, "cat"), range(16)))
    assert len(set(folders)) == 16


def test_checkpoints_are_listed_newest_first_by_step_not_by_text(tmp_path):
    run = a_run(tmp_path, "2026-01-01_00-00-00", 500, 1000, 1_000_000)
    (run / "checkpoints" / ".step_000700.ckpt.1.part").touch()
    assert [checkpoint_step(c) for c in list_checkpoints(run)] == [1_000_000, 1000, 500]


def test_latest_is_the_newest_run_that_holds_a_checkpoint(tmp_path):
    older = a_run(tmp_path, "2026-01-01_00-00-00", 500, 1000)
    a_run(tmp_path, "2026-01-02_00-00-00")
    a_run(tmp_path, "2026-01-03_00-00-00", 500, name="dog")
    assert choose_run_dir(tmp_path, "cat", "latest") == str(older)
    assert find_checkpoint(tmp_path / "cat", "latest").name == "step_001000.ckpt"
    assert find_checkpoint(older, "latest").name == "step_001000.ckpt"


def test_the_second_run_of_a_second_is_newer_than_the_first(tmp_path):
    for suffix in ("", "_2", "_10"):
        newest = a_run(tmp_path, f"2026-01-01_00-00-00{suffix}", 5)
    assert choose_run_dir(tmp_path, "cat", "latest") == str(newest)


def test_a_step_a_run_folder_and_a_file_say_where_to_go_on(tmp_path):
    """E-26: the reference script looks at the last part of a path alone."""
    first = a_run(tmp_path, "2026-01-01_00-00-00", 500)
    second = a_run(tmp_path, "2026-01-02_00-00-00", 1000)
    assert choose_run_dir(tmp_path, "cat", 500) == choose_run_dir(tmp_path, "cat", "500") == str(first)
    assert choose_run_dir(tmp_path, "cat", str(first)) == str(first)
    assert find_checkpoint(first, str(first)) == first / "checkpoints" / "step_000500.ckpt"
    file = second / "checkpoints" / "step_001000.ckpt"
    assert choose_run_dir(tmp_path, "dog", str(file)) == str(second)
    assert find_checkpoint(second, str(file)) == file


def test_a_checkpoint_outside_a_run_starts_a_run_of_its_own(tmp_path):
    file = tmp_path / "given.ckpt"
    file.touch()
    assert Path(choose_run_dir(tmp_path, "cat", str(file))).parent == tmp_path / "cat"
    assert find_checkpoint(tmp_path / "cat", str(file)) == file


@pytest.mark.parametrize("resume", ["latest", 500, "no/such/run", "."])
def test_nothing_to_resume_is_an_error_that_says_so(tmp_path, monkeypatch, resume):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"resume={resume}.*no run under"):
        choose_run_dir(tmp_path / "outputs", "cat", resume)


def test_the_steps_that_exist_are_listed(tmp_path):
    a_run(tmp_path, "2026-01-01_00-00-00", 500, 1000)
    with pytest.raises(UserError, match=r"resume=700.*: 500, 1000"):
        choose_run_dir(tmp_path, "cat", 700)


@pytest.mark.skipif(os.name == "nt", reason="files and folders clash differently there")
def test_a_place_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"paths\.root_dir.*file"):
        choose_run_dir(tmp_path / "file", "cat")
