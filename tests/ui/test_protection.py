"""A server answers to its own pages alone."""

import pytest
from starlette.testclient import TestClient

from tests.report.folders import write_run
from tinv.ui.protection import MAX_JSON_BYTES
from tinv.ui.server import LOOPBACK, create_app

LOCAL = "http://127.0.0.1:7878"


def client(root, *, token="", hosts=LOOPBACK, base_url=LOCAL) -> TestClient:
    return TestClient(create_app(root, token=token, hosts=hosts), base_url=base_url)


@pytest.mark.parametrize("name", ["127.0.0.1:7878", "localhost:1", "[::1]:7878", "LOCALHOST"])
def test_this_machine_is_answered_under_its_own_names(tmp_path, name):
    assert client(tmp_path).get("/", headers={"host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.test", "127.0.0.1.evil.test", "", "[::1", "localhost@evil.test"])
def test_another_name_of_the_host_is_refused(tmp_path, name):
    assert client(tmp_path).get("/", headers={"host": name}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:7879"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_of_other_pages_are_refused(tmp_path, headers, method):
    answer = client(tmp_path).request(method, "/api/runs", headers=headers, json={})
    assert answer.status_code == 403


def test_a_link_on_another_page_may_lead_here(tmp_path):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client(tmp_path).get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", ""])
def test_forms_are_refused(tmp_path, kind):
    assert client(tmp_path).post("/api/runs", content=b"x", headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_two_methods_are_there(tmp_path, method):
    assert client(tmp_path).request(method, "/").status_code == 405


def test_bodies_have_a_length_and_a_limit(tmp_path):
    web = client(tmp_path)
    json = {"content-type": "application/json"}
    assert web.post("/api/runs", content=iter([b"{}"]), headers=json).status_code == 411
    assert web.post("/api/runs", headers={**json, "content-length": str(MAX_JSON_BYTES + 1)}).status_code == 413
    files = {"content-type": "application/octet-stream", "content-length": str(2 * 1024**3)}
    assert web.post("/api/runs", headers=files).status_code == 413


def test_every_request_needs_the_token(tmp_path):
    write_run(tmp_path / "outputs" / "cat" / "1")
    web = client(tmp_path / "outputs", token="secret", hosts=(), base_url="http://node7.cluster:7878")
    paths = ("/", "/api/runs", "/run/cat/1", "/api/run/cat/1", "/assets/x/style.css")
    assert {web.get(path).status_code for path in paths} == {403}
    assert {web.get(f"/secret2{path}").status_code for path in paths} == {403}
    assert {web.get(f"/secret{path}").status_code for path in paths} == {200}
    page = web.get("/secret/run/cat/1").text
    assert 'href="/secret/"' in page and 'src="/secret/assets/' in page


def test_every_answer_has_the_policy(tmp_path):
    web = client(tmp_path)
    for answer in (web.get("/"), web.get("/none"), web.get("/", headers={"host": "evil.test"}), web.get("/api/run/x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
