"""What a page asks of the worker and of runs is checked before it is done."""

import pytest
from starlette.testclient import TestClient

from tests.report.folders import write_run
from tinv.runs.requests import list_answers
from tinv.runs.status import Status
from tinv.ui.server import create_app


@pytest.fixture
def web(tmp_path):
    write_run(tmp_path / "cat" / "1")
    (tmp_path / "cat/1/learned_embeds.safetensors").write_bytes(b"no embedding")
    write_run(tmp_path / "dog" / "1", status=Status("running", started="2026-11-22T18:00:00Z"))
    return TestClient(create_app(tmp_path), base_url="http://127.0.0.1:7878")


GOOD = {"words": [{"id": "cat/1"}], "prompts": ["a {}"], "seeds": [0]}


@pytest.mark.parametrize(
    "change",
    [
        {"words": []},
        {"words": [{"id": "../cat"}]},
        {"words": ["cat/1"]},
        {"words": [{"id": "cat/1", "strength": "1"}]},
        {"words": [{"id": "cat/1", "strength": -1}]},
        {"prompts": ["x" * 2000]},
        {"prompts": [" "]},
        {"seeds": [-1]},
        {"seeds": [True]},
        {"seeds": list(range(65))},
        {"num_inference_steps": 0},
        {"num_inference_steps": 10**6},
        {"guidance_scale": "7"},
    ],
)
def test_requests_out_of_range_start_no_worker(web, change):
    answer = web.post("/api/draw", json={**GOOD, **change})
    assert answer.status_code == 400 and answer.json()["error"]
    assert not web.app.state.site.painter.is_running


def test_only_runs_with_an_embedding_can_be_tried(web):
    page = web.get("/try").text
    assert '"id":"cat/1"' in page and "dog/1" not in page


@pytest.mark.parametrize(
    "body", [{}, {"action": "none"}, {"action": "extend", "steps": "7"}, {"action": "stop", "x": [], "steps": 1}]
)
def test_a_request_that_makes_no_sense_is_refused(web, tmp_path, body):
    assert web.post("/api/tell/dog/1", json=body).status_code == 400
    assert list_answers(tmp_path / "dog/1") == []


def test_a_run_that_has_ended_answers_no_request(web):
    answer = web.post("/api/tell/cat/1", json={"action": "checkpoint"})
    assert answer.status_code == 400 and answer.json()["error"]


def test_an_unknown_format_is_refused(web):
    assert web.post("/api/convert/cat/1", json={"format": "exe"}).status_code == 400
    assert web.post("/api/convert/dog/1", json={"format": "a1111"}).status_code == 400


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(web, content):
    for path in ("/api/draw", "/api/command", "/api/start", "/api/tell/dog/1"):
        answer = web.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400
