"""The pages and the data of runs come from their files, and from nothing outside of the folder."""

import json
import re
from io import BytesIO
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.browsing import HOSTILE
from tests.report.folders import write_run, write_samples, write_sweep
from tinv.runs.reader import RunReader
from tinv.runs.status import Status
from tinv.training.loggers.csv_logger import CSVLogger
from tinv.ui.live_run import REWRITTEN_LINES, LiveMetrics
from tinv.ui.server import create_app


@pytest.fixture
def outputs(tmp_path):
    """Two runs and a sweep, and a run beside the folder."""
    for name, status in (("cat", None), ("dog", Status("running", started="2026-11-22T18:00:00Z"))):
        write_run(tmp_path / "outputs" / name / "2026", status=status, token=f"<{name}>")
    write_samples(tmp_path / "outputs/cat/2026", [0, 10])
    (tmp_path / "outputs/cat/2026/learned_embeds.safetensors").write_bytes(b"embedding")
    write_sweep(tmp_path / "outputs/sweep/2026", [{"seed": "0"}, {"seed": "1"}])
    write_run(tmp_path / "outputs/sweep/2026/0")
    write_run(tmp_path / "outside" / "1")
    (tmp_path / "outputs/link").symlink_to(tmp_path / "outside")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "outputs"


@pytest.fixture
def web(outputs):
    return TestClient(create_app(outputs), base_url="http://127.0.0.1:7878")


def test_runs_and_sweeps_are_listed_newest_first(web):
    runs = web.get("/api/runs").json()
    assert runs[0]["id"] == "dog/2026" and runs[0]["status"] == "running"
    assert {run["id"]: run["kind"] for run in runs} == {"cat/2026": "run", "dog/2026": "run", "sweep/2026": "sweep"}
    assert runs[0]["is_silent"] is False and runs[0]["title"] == "<dog>"


def test_a_change_of_a_run_is_listed(web, outputs):
    before = {run["id"]: run["status"] for run in web.get("/api/runs").json()}
    (outputs / "dog/2026/status.json").write_text('{"status": "done"}')
    assert before["dog/2026"] == "running"
    assert {run["id"]: run["status"] for run in web.get("/api/runs").json()}["dog/2026"] == "done"


def test_a_run_folder_can_be_opened_alone(outputs):
    web = TestClient(create_app(outputs / "cat/2026"), base_url="http://localhost")
    assert [run["id"] for run in web.get("/api/runs").json()] == ["2026"]


@pytest.mark.parametrize(
    "run",
    [
        "../outside/1",
        "link/1",
        "cat/2026/../../../outside/1",
        "..%2foutside%2f1",
        "/etc",
        "cat",
        "",
        "a\0b",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize(
    "kind", ["run", "api/run", "api/settings", "changes/run", "sample", "file", "sweep", "changes/sweep"]
)
def test_nothing_outside_of_the_folder_is_answered(web, kind, run):
    answer = web.get(f"/{kind}/{quote(run, safe='%/')}")
    assert answer.status_code in (400, 404) and "secret" not in answer.text


@pytest.mark.parametrize("name", ["../../../secret.txt", "run.json", "/etc/passwd", ".hydra/config.yaml", ""])
def test_only_samples_and_embeddings_are_served(web, name):
    for kind, key in (("file", "name"), ("sample", "sheet")):
        assert web.get(f"/{kind}/cat/2026", params={key: name}).status_code == 400
    assert web.get("/file/cat/2026", params={"name": "learned_embeds.safetensors"}).content == b"embedding"


def test_a_sample_is_cut_out_of_its_sheet(web):
    sheets = web.get("/api/run/cat/2026").json()["samples"][0]
    assert [sheet["step"] for sheet in sheets["sheets"]] == [0, 10]
    images = []
    for index in range(len(sheets["rows"]) * len(sheets["columns"])):
        answer = web.get("/sample/cat/2026", params={"sheet": sheets["sheets"][0]["path"], "index": index, "side": 96})
        images.append(answer.content)
        assert Image.open(BytesIO(answer.content)).size == (64, 64)
    assert len(set(images)) == 4
    for wrong in ({"index": 4}, {"index": "-1"}, {"side": 100}):
        query = {"sheet": sheets["sheets"][0]["path"], **wrong}
        assert web.get("/sample/cat/2026", params=query).status_code == 400


def test_later_requests_get_only_new_points(web, outputs):
    run = web.get("/api/run/cat/2026").json()
    assert run["first_step"] is None and run["last_step"] == 20
    numbers = CSVLogger(outputs / "cat/2026")
    for step in range(30, 600, 10):
        numbers.log_metrics({"train/loss": 1 / step}, step=step)
    numbers.flush()
    later = web.get("/api/run/cat/2026", params={"after": 500}).json()
    (curve,) = [curve for curve in later["charts"]["Loss"] if curve["key"] == "train/loss"]
    assert later["first_step"] == curve["x"][0] == 500 - 10 * (REWRITTEN_LINES - 1) and curve["x"][-1] == 590


def test_curves_of_a_growing_file_are_those_of_the_whole_file(tmp_path):
    metrics, numbers = LiveMetrics(tmp_path), CSVLogger(tmp_path)
    assert metrics.read() == {}
    for step in range(120):
        numbers.log_metrics({"train/loss": step / 7}, step=step)
        if step >= 60 and step % 5 == 0:
            numbers.log_metrics({"val/loss": step / 3}, step=step - 2)
        if step % 3 == 0:
            numbers.flush()
            assert metrics.read() == RunReader(tmp_path).curves
    numbers.rewind(40)
    assert metrics.read() == RunReader(tmp_path).curves
    (tmp_path / "metrics.csv").write_text("damaged")
    assert metrics.read() == {}


def test_settings_are_compared_with_the_defaults(web, outputs):
    (outputs / "cat/2026/.hydra/config.yaml").write_text("seed: 7\nname: untitled\nmine: {own: 1}\n")
    rows = {row["key"]: row for row in web.get("/api/settings/cat/2026").json()}
    assert rows == {
        "seed": {"key": "seed", "value": "7", "default": "0"},
        "mine.own": {"key": "mine.own", "value": "1", "default": "not set"},
    }


def test_hostile_texts_stay_texts(tmp_path):
    run = tmp_path / "evil" / "2026"
    write_run(run, token=HOSTILE, status=Status("failed", reason=HOSTILE), command=HOSTILE)
    write_samples(run, [0], token=HOSTILE, seeds=["seed 0", HOSTILE])
    web = TestClient(create_app(tmp_path), base_url="http://127.0.0.1")
    for path in ("/", "/run/evil/2026"):
        page = web.get(path).text
        assert len(re.findall("<script", page)) == 2 and "<img" not in page.replace('<img id="compare', "")
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
        assert HOSTILE in json.dumps(json.loads(data), ensure_ascii=False).replace('\\"', '"')


@pytest.mark.parametrize("name", ["status.json", "progress.json", "run.json", "metrics.csv", ".hydra/config.yaml"])
@pytest.mark.parametrize("content", [b"", b"\xff\0{[", b"[1, 2]", b'{"timeline": [[1]], "concept": [], "result": 3}'])
def test_damaged_files_of_a_run_stop_no_page(web, outputs, name, content):
    (outputs / "cat/2026" / name).write_bytes(content)
    assert web.get("/").status_code == web.get("/run/cat/2026").status_code == 200
