import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from tinv.errors import UserError
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


def test_the_chosen_files_arrive_and_no_others(hub, repository):
    found = get_snapshot(Repo("somebody/thing"), texts)
    assert found.commit == repository.sha
    assert sorted(found.files) == sorted(found.downloaded) == ["a.txt", "b.txt", "deep/c.txt", "odd[1]*.txt"]
    assert all((found.folder / name).read_text() == name for name in found.files)
    assert not (found.folder / "big.bin").exists()


def test_a_second_time_nothing_is_fetched(hub, repository):
    get_snapshot(Repo("somebody/thing"), texts)
    hub.asked.clear()
    assert get_snapshot(Repo("somebody/thing"), texts).downloaded == []
    assert hub.fetched() == []


def test_a_commit_in_the_cache_is_used_without_a_question(hub, repository):
    repo = Repo("somebody/thing", revision=repository.sha)
    get_snapshot(repo, texts)
    hub.asked.clear()
    assert (get_snapshot(repo, texts).folder / "a.txt").read_text() == "a.txt"
    assert hub.asked == []


def test_what_is_missing_of_a_cached_commit_is_fetched(hub, repository):
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


def test_an_incomplete_copy_is_not_taken_for_a_whole_one(hub, repository, monkeypatch):
    repo = Repo("somebody/thing", revision=repository.sha)
    folder = get_snapshot(repo, texts).folder
    (folder / "b.txt").unlink()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(LookupError, match="cannot be reached"):
        get_snapshot(repo, texts)


def test_a_cache_that_another_program_filled_will_do(no_hub):
    folder = Path(constants.HF_HUB_CACHE) / "models--somebody--thing"
    (folder / "snapshots" / "abc" / "deep").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "deep" / "c.txt").write_text("c")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert dict(get_snapshot(Repo("somebody/thing"), texts).files) == {"deep/c.txt": 1}


def test_a_silent_hub_is_given_up(hub, repository, monkeypatch):
    hub.delays["/api/"] = 60
    monkeypatch.setattr("tinv.hub.snapshot.TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(LookupError, match="does not answer in time"):
        get_snapshot(Repo("somebody/thing"), texts)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("status", "words"), [(401, "hf auth login"), (403, "token"), (404, "no such"), (429, "wait"), (503, "fault")]
)
def test_every_refusal_is_said_in_words(hub, repository, status, words):
    hub.fails["/api/models/somebody/thing"] = status
    with pytest.raises(LookupError, match=words):
        get_snapshot(Repo("somebody/thing"), texts)


def test_what_the_chooser_says_is_passed_on(hub, repository):
    def choose(listing):
        raise UserError("nothing fits")

    with pytest.raises(UserError, match="nothing fits"):
        get_snapshot(Repo("somebody/thing"), choose)


def test_a_name_that_cannot_be_is_refused(hub):
    with pytest.raises(LookupError, match="name"):
        get_snapshot(Repo("a--b//c"), texts)
