"""Pictures of a dataset."""

from pathlib import Path

import pytest

from tests.tiny import tiny_images
from tinv.data import locate as places
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


def test_the_pictures_of_a_dataset_become_a_folder(hub, cats):
    folder = locate_folder("hf://datasets/somebody/cats")
    assert names(folder) == ["0.png", "1.png", "1.txt", "2.png"]
    assert len(find_images(folder)) == 3
    assert sorted(hub.fetched()) == ["0.png", "1.png", "1.txt", "2.png"]


def test_a_subfolder_is_had_alone(hub, cats):
    assert names(locate_folder("hf://datasets/somebody/cats/more/night")) == ["0.png", "1.png"]
    assert sorted(hub.fetched()) == ["more/night/0.png", "more/night/1.png"]


def test_subfolders_are_had_if_they_are_asked_for(hub, cats):
    assert names(locate_folder("hf://datasets/somebody/cats/more", recursive=True) / "night") == ["0.png", "1.png"]
    assert sorted(hub.fetched()) == ["more/night/0.png", "more/night/1.png"]


def test_a_commit_is_taken_from_the_cache_when_the_hub_has_gone_on(hub, cats):
    pinned = f"hf://datasets/somebody/cats@{cats.sha}"
    first = locate_folder(pinned)
    cats.commits.append("f" * 40)
    hub.asked.clear()
    assert locate_folder(pinned) == first
    assert not hub.asked
    assert locate_folder("hf://datasets/somebody/cats") != first


def test_other_places_are_as_ever(tmp_path):
    assert locate_folder(str(tmp_path)) == tmp_path
    assert locate_folder("pkg://tinv/toybox").is_dir()


@pytest.mark.parametrize(
    "text", ["hf://datasets/cats", "hf://somebody/cats", "hf://datasets/a/b/../c", "hf://datasets/a/b@"]
)
def test_another_form_is_refused_with_the_right_one(text):
    with pytest.raises(UserError, match="hf://datasets/OWNER/NAME"):
        locate_folder(text)


def test_without_a_network_a_folder_is_asked_for(no_hub):
    with pytest.raises(
        UserError, match=r"data\.folder = hf:.*cannot be reached.*tinv prefetch.*set data\.folder to a local folder"
    ):
        locate_folder("hf://datasets/somebody/cats")


def test_a_folder_without_pictures_names_those_that_have_some(cats):
    with pytest.raises(UserError, match=r"no image files in more\. They are in .*more/night"):
        locate_folder("hf://datasets/somebody/cats/more")


def test_tables_are_not_pictures(hub, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.parquet").write_text("")
    hub.add("dataset", "somebody/table", tmp_path / "set")
    with pytest.raises(UserError, match=r"\.parquet are not read"):
        locate_folder("hf://datasets/somebody/table")


def test_a_dataset_for_another_purpose_is_not_downloaded(hub, cats, monkeypatch):
    for limit in ("MAX_IMAGES", "MAX_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(places, limit, 2)
            with pytest.raises(UserError, match="3 images of"):
                locate_folder("hf://datasets/somebody/cats")
    assert not hub.fetched()
