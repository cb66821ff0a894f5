"""The images of a dataset of the Hub."""

from pathlib import Path

import pytest

from tests.tiny import tiny_images
from tinv.data import locate
from tinv.data.images import find_images
from tinv.data.locate import locate_folder
from tinv.errors import UserError


@pytest.fixture
def cats(hub, tmp_path):
    folder = tiny_images(tmp_path / "cats")
    (folder / "1.txt").write_text("a cat")
    (folder / "data.parquet").write_text("")
    tiny_images(folder / "more" / "night", count=2)
    return hub.add("dataset", "somebody/cats", folder)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.is_file())


def test_the_images_of_a_dataset_become_a_folder(hub, cats):
    folder = locate_folder("hf://datasets/somebody/cats")
    assert names(folder) == ["0.png", "1.png", "1.txt", "2.png"]
    assert len(find_images(folder)) == 3
    assert sorted(hub.fetched()) == ["0.png", "1.png", "1.txt", "2.png"]


def test_only_the_subfolder_is_downloaded(hub, cats):
    assert names(locate_folder("hf://datasets/somebody/cats/more/night")) == ["0.png", "1.png"]
    assert sorted(hub.fetched()) == ["more/night/0.png", "more/night/1.png"]


def test_subfolders_are_downloaded_with_recursive(hub, cats):
    assert names(locate_folder("hf://datasets/somebody/cats/more", recursive=True) / "night") == ["0.png", "1.png"]
    assert sorted(hub.fetched()) == ["more/night/0.png", "more/night/1.png"]


def test_a_cached_commit_is_used_when_the_branch_has_changed(hub, cats):
    pinned = f"hf://datasets/somebody/cats@{cats.sha}"
    first = locate_folder(pinned)
    cats.commits.append("f" * 40)
    hub.requests.clear()
    assert locate_folder(pinned) == first
    assert not hub.requests
    assert locate_folder("hf://datasets/somebody/cats") != first


def test_other_paths_are_unchanged(tmp_path):
    assert locate_folder(str(tmp_path)) == tmp_path
    assert locate_folder("pkg://tinv/toybox").is_dir()


@pytest.mark.parametrize(
    "text", ["hf://datasets/cats", "hf://somebody/cats", "hf://datasets/a/b/../c", "hf://datasets/a/b@"]
)
def test_an_invalid_url_is_refused_with_the_valid_form(text):
    with pytest.raises(UserError, match="hf://datasets/OWNER/NAME"):
        locate_folder(text)


def test_without_a_network_the_error_suggests_a_folder(no_hub):
    with pytest.raises(
        UserError, match=r"data\.folder=hf:.*cannot be reached.*tinv prefetch.*set data\.folder to a local folder"
    ):
        locate_folder("hf://datasets/somebody/cats")


def test_a_folder_without_images_is_refused_with_folders_that_have_some(cats):
    with pytest.raises(UserError, match=r"no image files in more\. They are in .*more/night"):
        locate_folder("hf://datasets/somebody/cats/more")


def test_parquet_files_are_not_read(hub, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.parquet").write_text("")
    hub.add("dataset", "somebody/table", tmp_path / "set")
    with pytest.raises(UserError, match=r"\.parquet are not read"):
        locate_folder("hf://datasets/somebody/table")


def test_a_too_large_dataset_is_not_downloaded(hub, cats, monkeypatch):
    for limit in ("MAX_IMAGES", "MAX_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(locate, limit, 2)
            with pytest.raises(UserError, match="3 images of"):
                locate_folder("hf://datasets/somebody/cats")
    assert not hub.fetched()
