"""Uploads with the Hub's real client to a stand-in on loopback."""

import time
import warnings

import pytest

from tests.hub.standin import TOKEN, Stored
from tests.publish.runs import finished_run
from tests.tiny import tiny_images
from tinv import cli
from tinv.errors import UserError
from tinv.publish import Publisher
from tinv.publish.account import resolve_repo_name

PRIVATE = b"private"


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path / "run", images=tiny_images(tmp_path / "images"))


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def publisher(**options):
    return Publisher(**{"name": "cat_toy", "push": True} | options)


def test_exactly_the_staged_files_are_uploaded(logged_in, run):
    assert publisher().publish(run) == f"{logged_in.url}/alice/cat_toy"
    uploaded = logged_in.repos["model", "alice/cat_toy"]
    staged = {p.relative_to(run / "hub").as_posix(): p.read_bytes() for p in (run / "hub").rglob("*") if p.is_file()}
    assert uploaded.files == staged
    assert not any(PRIVATE in data or TOKEN.encode() in data for data in uploaded.files.values())
    assert 'load_textual_inversion("alice/cat_toy")' in uploaded.files["README.md"].decode()
    assert len(uploaded.commits) == 2 and logged_in.tokens == {TOKEN}


@pytest.mark.parametrize("private", [True, False])
def test_the_repository_is_private_by_default(logged_in, run, private):
    publisher(**({} if private else {"private": False})).publish(run)
    assert logged_in.repos["model", "alice/cat_toy"].private is private


def test_private_files_are_not_uploaded_to_a_public_repository(logged_in, run):
    logged_in.repos["model", "alice/cat_toy"] = public = Stored()
    for upload in (publisher().check, lambda: publisher().publish(run)):
        with pytest.raises(UserError, match=r"hub\.private=true: .* is public"):
            upload()
    assert not public.files
    publisher(private=False).publish(run)
    assert public.files


def test_a_second_upload_deletes_files_that_are_no_longer_staged(logged_in, run, tmp_path):
    publisher().publish(run)
    files = logged_in.repos["model", "alice/cat_toy"].files
    files["notes.md"] = b"written by hand"
    for image in (tmp_path / "images").glob("[12].png"):
        image.unlink()
    publisher().publish(run)
    assert [name for name in files if name.startswith("concept_images")] == ["concept_images/0.jpeg"]
    assert files["notes.md"] == b"written by hand"


@pytest.mark.parametrize(
    ("name", "repo"), [("cat_toy", "cat_toy"), ("lr=1e-3", "lr-1e-3"), ("a--b", "a-b"), (".x..y.", "x-y")]
)
def test_the_name_of_a_run_becomes_a_valid_repository_name(name, repo):
    assert resolve_repo_name(None, name) == repo


def test_the_check_before_training_creates_nothing(logged_in):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        publisher().check()
    assert not logged_in.repos and {method for method, _ in logged_in.requests} == {"GET"}


@pytest.mark.parametrize("repo_id", ["a b", "a/b/c", "x" * 97, "a--b", "alice/.git"])
def test_an_invalid_repository_id_is_refused_and_without_push_no_request_is_sent(hub, repo_id):
    publisher(push=False, repo_id=repo_id).check()
    with pytest.raises(UserError, match=r"hub\.repo_id=.*: must be"):
        publisher(repo_id=repo_id).check()
    assert not hub.requests


def test_the_token_of_the_login_is_used_and_a_missing_token_is_reported(hub, tmp_path):
    with pytest.raises(UserError, match=r"hf auth login.*HF_TOKEN"):
        publisher().check()
    assert not hub.requests
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "token").write_text(TOKEN)
    publisher().check()


def test_a_token_that_cannot_write_to_the_repository_is_refused(logged_in, monkeypatch):
    logged_in.role = "read"
    with pytest.raises(UserError, match="is read-only"):
        publisher().check()
    logged_in.role = "write"
    with pytest.raises(UserError, match="can write for alice or toys, not for bob"):
        publisher(repo_id="bob/x").check()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="rejects the token") as caught:
        publisher().check()
    assert "hf_wrong" not in str(caught.value)


def test_without_a_network_the_check_only_warns(no_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    started = time.monotonic()
    with pytest.warns(UserWarning, match=r"cannot be reached.*tinv push"):
        publisher().check()
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("route", "status", "message"),
    [
        ("/api/repos/create", 401, "needs a login"),
        ("/api/repos/create", 403, "has no permission"),
        ("/api/repos/create", 500, r"has a server error \(500\)"),
        ("/commit/", 409, "another change"),
        ("/commit/", 500, r"has a server error \(500\)"),
        ("/api/whoami", 401, "rejects the token"),
        ("/api/whoami", 503, "has a server error"),
    ],
)
def test_a_failed_upload_is_explained_and_can_be_repeated(logged_in, run, route, status, message):
    logged_in.fails[route] = status
    with pytest.raises(UserError, match=message) as caught:
        publisher().publish(run)
    assert f"tinv push {run}" in str(caught.value) and TOKEN not in str(caught.value)
    assert (run / "hub" / "README.md").is_file() and (run / "hub" / "learned_embeds.safetensors").is_file()
    logged_in.fails.clear()
    assert cli.main(["push", str(run)]) == 0
    assert logged_in.repos["model", "alice/cat_toy"].files


@pytest.mark.parametrize("route", ["/api/repos/create", "/commit/"])
def test_an_upload_times_out(logged_in, run, monkeypatch, route):
    logged_in.delays[route] = 60
    monkeypatch.setattr("tinv.publish.publisher.TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(UserError, match="does not answer in time"):
        publisher().publish(run)
    assert time.monotonic() - started < 30


def test_a_file_with_a_token_is_not_uploaded(logged_in, run):
    sheet = run / "samples" / "step_003000.png"
    sheet.write_bytes(sheet.read_bytes() + TOKEN.encode())
    with pytest.raises(UserError, match=r"step_003000\.png contains a Hub token") as caught:
        publisher().publish(run)
    assert TOKEN not in str(caught.value) and not logged_in.repos


def test_push_uses_the_settings_of_the_run_and_refuses_other_folders(logged_in, tmp_path, capsys):
    assert (cli.main(["push", str(tmp_path)]), logged_in.requests) == (1, [])
    assert "not a readable run folder" in capsys.readouterr().err
    images = tiny_images(tmp_path / "images")
    run = finished_run(tmp_path / "r", "hub.repo_id=my-mug", "hub.private=false", "hub.license=mit", images=images)
    assert (cli.main(["push", str(run)]), capsys.readouterr().out) == (0, f"{logged_in.url}/alice/my-mug\n")
    stored = logged_in.repos["model", "alice/my-mug"]
    assert not stored.private and b"license: mit" in stored.files["README.md"]


def test_flags_of_push_override_the_settings_of_the_run(logged_in, run):
    options = ["--repo-id", "toys/other", "--no-private", "--no-concept-images", "--license", "cc0-1.0"]
    assert cli.main(["push", str(run), *options, "--message", "hello"]) == 0
    stored = logged_in.repos["model", "toys/other"]
    assert not stored.private and b"license: cc0-1.0" in stored.files["README.md"]
    assert not [name for name in stored.files if name.startswith("concept_images")]
    assert b"3, not published" in stored.files["README.md"]


def test_the_advice_after_a_failed_upload_repeats_the_options(logged_in, run, capsys):
    logged_in.fails["/api/repos/create"] = 500
    assert cli.main(["push", str(run), "--repo-id=alice/other", "--no-concept-images", "--message=a b"]) == 1
    assert f"tinv push {run} --repo-id alice/other --no-concept-images --message 'a b'" in capsys.readouterr().err
