import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from tinv.hub.snapshot import Repo, get_snapshot


@pytest.fixture
def repository(hub, tmp_path):
    folder = tmp_path / "source"
    for name in ("a.txt", "b.txt", "deep/c.txt", "big.bin", "odd[1]*.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return hub.add("model", "somebody/thing", folder)


def texts(listing):
    return [name for name in listing if name.endswith(".txt")]


def test_only_the_selected_files_are_downloaded(hub, repository):
    snapshot = get_snapshot(Repo("somebody/thing"), texts)
    assert snapshot.commit == repository.sha
    assert sorted(snapshot.files) == sorted(snapshot.downloaded) == ["a.txt", "b.txt", "deep/c.txt", "odd[1]*.txt"]
    assert all((snapshot.folder / name).read_text() == name for name in snapshot.files)
    assert not (snapshot.folder / "big.bin").exists()


@pytest.mark.parametrize("is_pinned", [False, True])
def test_cached_files_are_not_downloaded_again_and_a_cached_commit_needs_no_request(hub, repository, is_pinned):
    repo = Repo("somebody/thing", revision=repository.sha if is_pinned else None)
    get_snapshot(repo, texts)
    hub.requests.clear()
    again = get_snapshot(repo, texts)
    assert again.downloaded == hub.fetched() == [] and (again.folder / "a.txt").read_text() == "a.txt"
    assert (hub.requests == []) == is_pinned


def test_missing_files_of_a_cached_commit_are_downloaded(hub, repository):
    repo = Repo("somebody/thing", revision=repository.sha)
    get_snapshot(repo, lambda listing: ["a.txt"])
    assert get_snapshot(repo, texts).downloaded == ["b.txt", "deep/c.txt", "odd[1]*.txt"]


def test_a_branch_follows_the_hub_and_falls_back_to_the_cache(hub, repository, monkeypatch):
    repo = Repo("somebody/thing")
    old = get_snapshot(repo, texts).commit
    repository.commits.append("f" * 40)
    assert get_snapshot(repo, texts).commit == "f" * 40 != old
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    assert get_snapshot(repo, texts).commit == "f" * 40
    assert time.monotonic() - started < 15


def test_an_incomplete_cache_is_not_used(hub, repository, monkeypatch):
    repo = Repo("somebody/thing", revision=repository.sha)
    folder = get_snapshot(repo, texts).folder
    (folder / "b.txt").unlink()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LookupError, match="cannot be reached"):
        get_snapshot(repo, texts)


def test_a_cache_written_by_another_program_is_used(no_hub):
    folder = Path(constants.HF_HUB_CACHE) / "models--somebody--thing"
    for name, text in {"snapshots/abc/deep/c.txt": "c", "refs/main": "abc"}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    assert dict(get_snapshot(Repo("somebody/thing"), texts).files) == {"deep/c.txt": 1}


def test_a_request_times_out(hub, repository, monkeypatch):
    hub.delays["/api/"] = 60
    monkeypatch.setattr("tinv.hub.snapshot.TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(LookupError, match="does not answer in time"):
        get_snapshot(Repo("somebody/thing"), texts)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "hf auth login"), (403, "token"), (404, "does not exist"), (429, "wait"), (503, "server error")],
)
def test_an_http_error_is_explained(hub, repository, status, words):
    hub.fails["/api/models/somebody/thing"] = status
    with pytest.raises(LookupError, match=words):
        get_snapshot(Repo("somebody/thing"), texts)


def test_an_invalid_repository_id_is_refused(hub):
    with pytest.raises(LookupError, match="not a valid Hub repository id"):
        get_snapshot(Repo("a--b//c"), texts)
