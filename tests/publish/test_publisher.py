"""The way to the Hub, with its real client, against the stand-in on loopback."""

import time
import warnings

import pytest

from tests.hub.standin import TOKEN, Stored
from tests.publish.runs import finished_run
from tests.tiny import tiny_images
from tinv import cli
from tinv.errors import UserError
from tinv.publish import Publisher
from tinv.publish.account import repository_name

NOT_FOR_OTHERS = b"not for others"


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path / "run", pictures=tiny_images(tmp_path / "pictures"))


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def publishing(**options):
    return Publisher(**{"name": "cat_toy", "push": True} | options)


def test_what_is_staged_arrives_and_no_other_file(logged_in, run):
    address = publishing().publish(run)
    assert address == f"{logged_in.url}/alice/cat_toy"
    arrived = logged_in.repos["model", "alice/cat_toy"]
    there = {p.relative_to(run / "hub").as_posix(): p.read_bytes() for p in (run / "hub").rglob("*") if p.is_file()}
    assert arrived.files == there
    assert not any(NOT_FOR_OTHERS in data or TOKEN.encode() in data for data in arrived.files.values())
    assert 'load_textual_inversion("alice/cat_toy")' in arrived.files["README.md"].decode()
    assert len(arrived.commits) == 2
    assert logged_in.tokens == {TOKEN}


@pytest.mark.parametrize("private", [True, False])
def test_the_repository_is_private_unless_it_is_said_otherwise(logged_in, run, private):
    publishing(**({} if private else {"private": False})).publish(run)
    assert logged_in.repos["model", "alice/cat_toy"].private is private


def test_a_public_repository_is_no_place_for_what_is_private(logged_in, run):
    logged_in.repos["model", "alice/cat_toy"] = public = Stored()
    with pytest.raises(UserError, match=r"hub\.private=true, but .* is public"):
        publishing().check()
    with pytest.raises(UserError, match=r"hub\.private=true, but .* is public"):
        publishing().publish(run)
    assert not public.files
    publishing(private=False).publish(run)
    assert public.files


def test_a_second_upload_takes_away_what_is_no_longer(logged_in, run, tmp_path):
    publishing().publish(run)
    files = logged_in.repos["model", "alice/cat_toy"].files
    files["notes.md"] = b"written by hand"
    for picture in (tmp_path / "pictures").glob("[12].png"):
        picture.unlink()
    publishing().publish(run)
    assert [name for name in files if name.startswith("concept_images")] == ["concept_images/0.jpeg"]
    assert files["notes.md"] == b"written by hand"


def test_an_organisation_can_be_written_for(logged_in, run):
    publishing(repo_id="toys/cat").publish(run)
    assert ("model", "toys/cat") in logged_in.repos


@pytest.mark.parametrize(
    ("name", "repo"), [("cat_toy", "cat_toy"), ("lr=1e-3", "lr-1e-3"), ("a--b", "a-b"), (".x..y.", "x-y")]
)
def test_the_name_of_a_run_becomes_one_that_the_hub_takes(name, repo):
    assert repository_name(None, name) == repo


# --- before the training ----------------------------------------------------------------------------------------------


def test_all_is_well_before_the_training_and_nothing_is_made(logged_in):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        publishing().check()
    assert not logged_in.repos
    assert {method for method, _ in logged_in.asked} == {"GET"}


def test_nothing_is_asked_when_nothing_is_pushed(hub):
    publishing(push=False, repo_id="not a name").check()
    assert not hub.asked


@pytest.mark.parametrize("repo_id", ["a b", "a/b/c", "x" * 97, "a--b", "alice/.git"])
def test_a_name_that_the_hub_does_not_take_is_refused(hub, repo_id):
    with pytest.raises(UserError, match=r"hub\.repo_id must be"):
        publishing(repo_id=repo_id).check()
    assert not hub.asked


def test_without_a_token_the_ways_to_have_one_are_named(hub):
    with pytest.raises(UserError, match=r"hf auth login.*HF_TOKEN"):
        publishing().check()
    assert not hub.asked


def test_a_token_from_the_login_will_do(hub, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "token").write_text(TOKEN)
    publishing().check()


def test_a_wrong_token_a_reading_one_and_another_owner_are_refused(logged_in, monkeypatch):
    logged_in.role = "read"
    with pytest.raises(UserError, match="may only read"):
        publishing().check()
    logged_in.role = "write"
    with pytest.raises(UserError, match="belongs to bob, this token writes for alice or toys"):
        publishing(repo_id="bob/x").check()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="does not take the token") as caught:
        publishing().check()
    assert "hf_wrong" not in str(caught.value)


def test_without_a_network_the_run_goes_on_with_a_warning(no_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    started = time.monotonic()
    with pytest.warns(UserWarning, match=r"cannot be reached.*tinv push"):
        publishing().check()
    assert time.monotonic() - started < 15


# --- after the training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "status", "words"),
    [
        ("/api/repos/create", 401, "who you are"),
        ("/api/repos/create", 403, "does not let this token"),
        ("/api/repos/create", 500, r"has a fault \(500\)"),
        ("/commit/", 409, "another change"),
        ("/commit/", 500, r"has a fault \(500\)"),
        ("/api/whoami", 401, "does not take the token"),
        ("/api/whoami", 503, "has a fault"),
    ],
)
def test_a_failed_upload_says_why_and_keeps_all_for_later(logged_in, run, route, status, words):
    logged_in.fails[route] = status
    with pytest.raises(UserError, match=words) as caught:
        publishing().publish(run)
    assert f"tinv push {run}" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert (run / "hub" / "README.md").is_file() and (run / "hub" / "learned_embeds.safetensors").is_file()
    logged_in.fails.clear()
    assert cli.main(["push", str(run)]) == 0
    assert logged_in.repos["model", "alice/cat_toy"].files


@pytest.mark.parametrize("route", ["/api/repos/create", "/commit/"])
def test_a_silent_hub_is_given_up(logged_in, run, monkeypatch, route):
    logged_in.delays[route] = 60
    monkeypatch.setattr("tinv.publish.upload.PATIENCE_S", 0.3)
    started = time.monotonic()
    with pytest.raises(UserError, match="does not answer in time"):
        publishing().publish(run)
    assert time.monotonic() - started < 30


def test_a_token_in_a_file_is_not_uploaded(logged_in, run):
    sheet = run / "samples" / "step_003000.png"
    sheet.write_bytes(sheet.read_bytes() + TOKEN.encode())
    with pytest.raises(UserError, match=r"step_003000\.png holds a token") as caught:
        publishing().publish(run)
    assert TOKEN not in str(caught.value)
    assert not logged_in.repos


# --- tinv push --------------------------------------------------------------------------------------------------------


def test_push_does_as_the_run_was_told(logged_in, tmp_path, capsys):
    pictures = tiny_images(tmp_path / "pictures")
    run = finished_run(tmp_path / "r", "hub.repo_id=my-mug", "hub.private=false", "hub.license=mit", pictures=pictures)
    assert cli.main(["push", str(run)]) == 0
    assert capsys.readouterr().out == f"{logged_in.url}/alice/my-mug\n"
    stored = logged_in.repos["model", "alice/my-mug"]
    assert not stored.private and b"license: mit" in stored.files["README.md"]


def test_push_can_be_told_otherwise(logged_in, run):
    options = ["--repo-id", "toys/other", "--no-private", "--no-concept-images", "--license", "cc0-1.0"]
    assert cli.main(["push", str(run), *options, "--message", "hello"]) == 0
    stored = logged_in.repos["model", "toys/other"]
    assert not stored.private and b"license: cc0-1.0" in stored.files["README.md"]
    assert not [name for name in stored.files if name.startswith("concept_images")]


def test_push_of_something_else_is_refused(logged_in, tmp_path, capsys):
    assert cli.main(["push", str(tmp_path)]) == 1
    assert "not a readable run folder" in capsys.readouterr().err
    assert not logged_in.asked
