"""A page says what there is of a sweep or a run, whatever is missing, and nothing in it is taken for HTML."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.folders import SEEDS, write_run, write_samples, write_sweep
from tinv.cli import main
from tinv.errors import UserError
from tinv.report import write_report
from tinv.report.sweep_page import find_direction
from tinv.runs.reader import SweepReader
from tinv.runs.status import Status

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page with their texts; fails if tags are not nested correctly."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(self.source)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"line {self.getpos()[0]}: </{tag}>"

    def handle_data(self, text):
        for tag in self._open:
            self.texts[tag] = self.texts.get(tag, "") + text

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', self.source)[1])

    @property
    def thumbs(self):
        return [button for button in self.all("button") if button.get("class") == "thumb"]


def write_page(folder: Path) -> Page:
    return Page(write_report(folder))


@pytest.fixture
def sweep(tmp_path):
    """Two completed points, a failed one, a running one and a waiting one."""
    values = zip("12121", ("1e-3", "1e-3", "5", "1e-2", "1"))
    swept = [{"embedding.num_vectors": n, "optimizer.lr": lr} for n, lr in values]
    failed = Status("failed", reason="the loss is not finite at step 3; lower optimizer.lr", seconds=3)
    folder = write_sweep(tmp_path / "toy" / "sweep", swept, {2: failed})
    for number, loss in ((0, 0.2), (1, 0.1)):
        write_run(folder / str(number), losses=(0.4, 0.3, loss))
        write_samples(folder / str(number), [0, 10, 20])
    write_run(folder / "3", losses=(0.4, 0.35), status=Status("running"), max_steps=20)
    write_samples(folder / "3", [0])
    return folder


def test_the_command_prints_the_path_of_the_page(sweep, tmp_path, capsys):
    assert main(["report", str(sweep)]) == 0
    assert capsys.readouterr().out.strip() == str(sweep / "report.html")
    assert main(["report", str(sweep), "--output", str(tmp_path / "a" / "b.html")]) == 0
    assert (tmp_path / "a" / "b.html").is_file() and not list(tmp_path.rglob("*.part"))


def test_the_table_has_a_row_for_each_point_with_its_current_status(sweep):
    page = write_page(sweep)
    assert [row["data-point"] for row in page.all("tr") if "data-point" in row] == list("01234")
    assert [point["status"] for point in page.data["points"]] == ["done", "done", "failed", "running", "waiting"]
    assert [point["value"] for point in page.data["points"]] == [0.2, 0.1, None, 0.35, None]
    assert [point["final"] for point in page.data["points"]] == [True, True, False, False, False]
    assert "lower optimizer.lr" in page.texts["article"]
    assert "so far" in page.texts["table"] and page.texts["table"].count("best") == 1


def test_the_page_has_all_curves_and_swept_settings(sweep):
    data = write_page(sweep).data
    assert list(data["curves"])[:2] == ["val/loss", "train/loss"]
    curves = {curve["key"]: curve["y"] for curve in data["curves"]["val/loss"]}
    assert curves == {0: [0.4, 0.3, 0.2], 1: [0.4, 0.3, 0.1], 3: [0.4, 0.35]}
    assert [axis["name"] for axis in data["axes"]] == ["num_vectors", "lr"]
    assert data["axes"][1]["is_log"] and data["axes"][1]["at"] == [1e-3, 1e-3, 5, 1e-2, 1]


def test_the_contact_sheet_shows_the_last_step_and_contains_the_others(sweep):
    page = write_page(sweep)
    assert [thumb["data-step"] for thumb in page.thumbs] == ["20"] * 8 + ["0"] * 4
    assert {thumb["data-prompt"] for thumb in page.thumbs} == {"a photo of a <cat>", "a <cat> on the beach"}
    assert {thumb["data-seed-name"] for thumb in page.thumbs} == set(SEEDS)
    assert page.data["steps"] == [0, 10, 20] and len(page.data["frames"]) == 8
    assert all(set(frames) == {"0", "10"} for frames in page.data["frames"].values())


def test_points_with_different_tokens_share_columns(tmp_path):
    tokens = "<a>", "<b>"
    folder = write_sweep(tmp_path / "sweep", [{"concept.placeholder_token": token} for token in tokens])
    for number, token in enumerate(tokens):
        write_run(folder / str(number), token=token)
        write_samples(folder / str(number), [0], token=token)
    page = write_page(folder)
    assert {thumb["data-column"] for thumb in page.thumbs} == {"0", "1"}
    assert {thumb["data-prompt"] for thumb in page.thumbs} >= {"a photo of a <a>", "a photo of a <b>"}


def test_a_run_has_a_row_for_each_step(tmp_path):
    write_run(tmp_path / "run")
    write_samples(tmp_path / "run", [0, 10, 20])
    page = write_page(tmp_path / "run")
    assert [thumb["data-row"] for thumb in page.thumbs] == ["0"] * 4 + ["10"] * 4 + ["20"] * 4
    assert list(page.data["charts"])[:2] == ["Loss", "Learning rate"]
    assert [curve["key"] for curve in page.data["charts"]["Loss"]] == ["train/loss", "val/loss"]
    assert "python train.py +experiment=cat_toy" in page.texts["pre"]
    for text in ("0123456789ab, with uncommitted changes", "no embedding yet"):
        assert text in page.texts["section"]


def test_hostile_names_are_escaped(tmp_path):
    failed = Status("failed", reason=HOSTILE)
    folder = write_sweep(tmp_path / "sweep", [{"name": HOSTILE}, {"name": "</script>"}], {1: failed})
    write_run(folder / "0", token=HOSTILE)
    write_samples(folder / "0", [0, 10], prompts=[HOSTILE], seeds=[HOSTILE])
    write_run(folder / "1", status=failed, card={"command": HOSTILE})
    for page in (write_page(folder), write_page(folder / "0")):
        assert len(page.all("script")) == 2
        assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
        assert all(image.get("src", "data:").startswith("data:") for image in page.all("img"))
        assert "49" not in page.texts["h1"]
    assert page.thumbs[0]["data-prompt"] == HOSTILE


def test_the_policy_of_a_page_allows_only_its_own_script(sweep):
    page = write_page(sweep)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert not [attributes for _, attributes in page.elements if "style" in attributes], "the policy forbids it"


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "metrics.csv").write_text("step,val/loss\n0,0.4\n10,0.3\n20,0."),
        lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00step,\n,,,\n\x00"),
        lambda run: (run / "metrics.csv").unlink(),
        lambda run: (run / "run.json").write_text('{"concept": ['),
        lambda run: (run / "run.json").write_text('{"concept": 3, "result": [], "git": "x", "max_steps": "a"}'),
        lambda run: (run / "status.json").unlink(),
        lambda run: (run / "evaluation.json").write_text("[1, 2"),
        lambda run: [path.write_bytes(path.read_bytes()[:300]) for path in (run / "samples").glob("*.png")],
        lambda run: [path.write_bytes(b"not an image") for path in (run / "samples").glob("*.png")],
        lambda run: [path.unlink() for path in (run / "samples").glob("*.png")],
        lambda run: (run / ".hydra" / "overrides.yaml").write_text("a: [}"),
    ],
)
def test_a_page_is_written_with_a_damaged_file(sweep, damage):
    damage(sweep / "1")
    assert len(write_page(sweep).data["points"]) == 5
    write_page(sweep / "1")


def test_a_sweep_without_points_and_a_sweep_with_one_point_have_pages(tmp_path):
    assert write_page(write_sweep(tmp_path / "none", [])).data["points"] == []
    data = write_page(write_sweep(tmp_path / "one", [{"seed": "1"}])).data
    assert (data["points"][0]["status"], data["axes"]) == ("waiting", [])


@pytest.mark.parametrize(("monitor", "direction"), [("val/loss", "minimize"), ("eval/score", "maximize"), ("x", None)])
def test_the_direction_follows_from_the_monitored_metric(tmp_path, monitor, direction):
    (tmp_path / "plan.json").write_text(json.dumps({"settings": {"monitor": monitor}}))
    assert find_direction(SweepReader(tmp_path)) == direction


def test_the_scores_of_an_evaluation_are_in_the_table(sweep):
    (sweep / "0" / "evaluation.json").write_text('{"fid": 12.5, "clip": {"image": 0.75}, "note": "x", "bad": NaN}')
    page = write_page(sweep)
    assert "12.5" in page.texts["table"]
    assert "fidclip.imagesteps" in page.texts["button"], "only finite numbers"


@pytest.mark.parametrize("name", ["absent", "file", "empty", "outputs"])
def test_another_folder_is_refused_and_the_newest_run_in_it_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty" / "2026").mkdir(parents=True)
    write_run(tmp_path / "outputs" / "2026")
    message = "the newest in it is .*2026" if name == "outputs" else "Give the folder of a sweep or of a run"
    with pytest.raises(UserError, match=message):
        write_report(tmp_path / name)


def test_the_samples_of_all_concepts_are_side_by_side(tmp_path):
    run = tmp_path / "run"
    extra = [{"concept": {"placeholder_token": "<dog>", "initializer_token": "toy", "num_vectors": {"clip_l": 1}}}]
    nearest = {"nearest/cat": {"<cat>": ["cat"]}, "nearest/dog": {"<dog>": ["wolf"]}}
    write_run(run, extra_concepts=extra, result={"embedding_stats": nearest})
    for name in ("cat", "dog"):
        write_samples(run / "concepts" / name, [0, 10], token=f"<{name}>")
        (run / "concepts" / name / "learned_embeds.safetensors").write_bytes(b"")
    page = write_page(run)
    assert page.texts["h1"].strip() == "<cat>, <dog>"
    assert [thumb["data-column"] for thumb in page.thumbs[:8]] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    links = {link["href"].replace("./.", ".") for link in page.all("a")}
    assert {f"./concepts/{name}/learned_embeds.safetensors" for name in ("cat", "dog")} <= links
    assert "wolf" in page.texts["section"]
    assert "'a {dog} on the beach'" in page.texts["pre"]
