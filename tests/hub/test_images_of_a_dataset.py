"""The images of a dataset of the Hub."""

from pathlib import PurePath

import pytest

from tests.tiny import tiny_images
from tinv.concept import Concept
from tinv.data import locate
from tinv.data.datamodule import ConceptDataModule
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


@pytest.mark.parametrize(
    ("path", "recursive", "files"),
    [
        ("", False, ["0.png", "1.png", "1.txt", "2.png"]),
        ("/more/night", False, ["more/night/0.png", "more/night/1.png"]),
        ("/more", True, ["more/night/0.png", "more/night/1.png"]),
    ],
)
def test_only_the_images_and_captions_of_the_folder_are_downloaded(hub, cats, path, recursive, files):
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    url = f"hf://datasets/somebody/cats{path}"
    folder = locate_folder(url, recursive=recursive)
    downloaded = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert sorted(f"{path}/{name}".strip("/") for name in downloaded) == sorted(hub.fetched()) == files
    images = ConceptDataModule(concept=concept, seed=0, folder=url, recursive=recursive).images
    assert images == find_images(folder, recursive=recursive)
    assert [image.name for image in images] == [PurePath(name).name for name in files if name.endswith(".png")]


def test_a_cached_commit_is_used_when_the_branch_has_changed(hub, cats):
    pinned = f"hf://datasets/somebody/cats@{cats.sha}"
    first = locate_folder(pinned)
    cats.commits.append("f" * 40)
    hub.requests.clear()
    assert locate_folder(pinned) == first and not hub.requests
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
    message = r"data\.folder=hf:.*cannot be reached.*tinv prefetch.*set data\.folder to a local folder"
    with pytest.raises(UserError, match=message):
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
