"""A page says what there is of a sweep or a run, whatever is missing, and nothing in it is taken for HTML."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.folders import SEEDS, write_run, write_sheets, write_sweep
from tinv.cli import main
from tinv.errors import UserError
from tinv.report import write_report
from tinv.report.sweep import find_direction
from tinv.runs.reader import SweepReader
from tinv.runs.status import Status

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page with their texts; fails where tags are not closed in their order."""

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


def page(folder: Path) -> Page:
    return Page(write_report(folder))


@pytest.fixture
def sweep(tmp_path):
    """Two points that ended, one that failed, one that runs, one that waits."""
    swept = [
        {"embedding.num_vectors": n, "optimizer.lr": lr} for n, lr in zip("12121", ("1e-3", "1e-3", "5", "1e-2", "1"))
    ]
    failed = Status("failed", reason="the loss is not finite at step 3; lower optimizer.lr", seconds=3)
    folder = write_sweep(tmp_path / "toy" / "sweep", swept, {2: failed})
    for number, loss in ((0, 0.2), (1, 0.1)):
        write_run(folder / str(number), losses=(0.4, 0.3, loss))
        write_sheets(folder / str(number), [0, 10, 20])
    write_run(folder / "3", losses=(0.4, 0.35), status=Status("running"), max_steps=20)
    write_sheets(folder / "3", [0])
    return folder


def test_the_command_prints_where_the_page_is(sweep, tmp_path, capsys):
    assert main(["report", str(sweep)]) == 0
    assert capsys.readouterr().out.strip() == str(sweep / "report.html")
    assert main(["report", str(sweep), "--output", str(tmp_path / "a" / "b.html")]) == 0
    assert (tmp_path / "a" / "b.html").is_file()
    assert not list(tmp_path.rglob("*.part"))


def test_the_table_has_a_row_for_each_point_and_the_status_as_it_is_now(sweep):
    found = page(sweep)
    assert [row["data-point"] for row in found.all("tr") if "data-point" in row] == list("01234")
    assert [point["status"] for point in found.data["points"]] == ["done", "done", "failed", "running", "waiting"]
    assert [point["value"] for point in found.data["points"]] == [0.2, 0.1, None, 0.35, None]
    assert [point["final"] for point in found.data["points"]] == [True, True, False, False, False]
    assert "lower optimizer.lr" in found.texts["article"]
    assert "so far" in found.texts["table"]
    assert found.texts["table"].count("best") == 1


def test_every_curve_and_every_setting_with_several_values_is_there(sweep):
    data = page(sweep).data
    assert list(data["curves"])[:2] == ["val/loss", "train/loss"]
    assert [(curve["key"], curve["y"]) for curve in data["curves"]["val/loss"]] == [
        (0, [0.4, 0.3, 0.2]),
        (1, [0.4, 0.3, 0.1]),
        (3, [0.4, 0.35]),
    ]
    assert [axis["name"] for axis in data["axes"]] == ["num_vectors", "lr"]
    assert data["axes"][1]["is_log"]
    assert data["axes"][1]["at"] == [1e-3, 1e-3, 5, 1e-2, 1]


def test_the_contact_sheet_shows_the_last_step_and_holds_the_others(sweep):
    found = page(sweep)
    assert [thumb["data-step"] for thumb in found.thumbs] == ["20"] * 8 + ["0"] * 4
    assert {thumb["data-prompt"] for thumb in found.thumbs} == {"a photo of a <cat>", "a <cat> on the beach"}
    assert found.data["steps"] == [0, 10, 20]
    assert len(found.data["frames"]) == 8
    assert all(set(frames) == {"0", "10"} for frames in found.data["frames"].values())


def test_points_whose_words_differ_share_their_columns(tmp_path):
    folder = write_sweep(
        tmp_path / "sweep", [{"concept.placeholder_token": "<a>"}, {"concept.placeholder_token": "<b>"}]
    )
    for number, word in enumerate(("<a>", "<b>")):
        write_run(folder / str(number), word=word)
        write_sheets(folder / str(number), [0], word=word)
    found = page(folder)
    assert {thumb["data-column"] for thumb in found.thumbs} == {"0", "1"}
    assert {thumb["data-prompt"] for thumb in found.thumbs} >= {"a photo of a <a>", "a photo of a <b>"}


def test_a_run_shows_its_steps_from_top_to_bottom(tmp_path):
    write_run(tmp_path / "run")
    write_sheets(tmp_path / "run", [0, 10, 20])
    found = page(tmp_path / "run")
    assert [thumb["data-row"] for thumb in found.thumbs] == ["0"] * 4 + ["10"] * 4 + ["20"] * 4
    assert list(found.data["charts"])[:2] == ["Loss", "Learning rate"]
    assert [curve["key"] for curve in found.data["charts"]["Loss"]] == ["train/loss", "val/loss"]
    said = found.texts["pre"]
    assert "python train.py +experiment=cat_toy" in said
    assert "0123456789ab, with changes" in found.texts["section"]
    assert "no embedding yet" in found.texts["section"]


def test_hostile_names_are_texts(tmp_path):
    folder = write_sweep(
        tmp_path / "sweep", [{"name": HOSTILE}, {"name": "</script>"}], {1: Status("failed", reason=HOSTILE)}
    )
    write_run(folder / "0", word=HOSTILE)
    write_sheets(folder / "0", [0, 10], prompts=[HOSTILE], seeds=[HOSTILE])
    write_run(folder / "1", status=Status("failed", reason=HOSTILE), card={"command": HOSTILE})
    for found in (page(folder), page(folder / "0")):
        assert len(found.all("script")) == 2
        assert not [attributes for _, attributes in found.elements if any(name.startswith("on") for name in attributes)]
        assert all(image.get("src", "data:").startswith("data:") for image in found.all("img"))
        assert "49" not in found.texts["h1"]
    assert found.thumbs[0]["data-prompt"] == HOSTILE


def test_pages_forbid_what_is_not_theirs(sweep):
    policy = next(meta["content"] for meta in page(sweep).all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not [attributes for _, attributes in page(sweep).elements if "style" in attributes], "the policy forbids it"


@pytest.mark.parametrize(
    "break_it",
    [
        lambda run: (run / "metrics.csv").write_text("step,val/loss\n0,0.4\n10,0.3\n20,0."),
        lambda run: (run / "metrics.csv").write_bytes(b"\xff\xfe\x00step,\n,,,\n\x00"),
        lambda run: (run / "metrics.csv").unlink(),
        lambda run: (run / "run.json").write_text('{"concept": ['),
        lambda run: (run / "run.json").write_text('{"concept": 3, "result": [], "git": "x", "max_steps": "a"}'),
        lambda run: (run / "status.json").unlink(),
        lambda run: (run / "evaluation.json").write_text("[1, 2"),
        lambda run: [path.write_bytes(path.read_bytes()[:300]) for path in (run / "samples").glob("*.png")],
        lambda run: [path.write_bytes(b"no picture") for path in (run / "samples").glob("*.png")],
        lambda run: [path.unlink() for path in (run / "samples").glob("*.png")],
        lambda run: (run / ".hydra" / "overrides.yaml").write_text("a: [}"),
    ],
)
def test_a_broken_file_costs_what_is_in_it_and_no_more(sweep, break_it):
    break_it(sweep / "1")
    assert len(page(sweep).data["points"]) == 5
    page(sweep / "1")


def test_the_last_line_of_a_half_written_table_is_left_out(sweep):
    (sweep / "1" / "metrics.csv").write_text("step,val/loss\n0,0.4\n10,0.3\n20,0.")
    curve = next(curve for curve in page(sweep).data["curves"]["val/loss"] if curve["key"] == 1)
    assert curve["x"] == [0, 10]


def test_a_sweep_that_has_only_begun_and_one_with_a_single_point_have_pages(tmp_path):
    assert page(write_sweep(tmp_path / "none", [])).data["points"] == []
    found = page(write_sweep(tmp_path / "one", [{"seed": "1"}]))
    assert found.data["points"][0]["status"] == "waiting"
    assert found.data["axes"] == []


@pytest.mark.parametrize(("monitor", "direction"), [("val/loss", "minimize"), ("eval/score", "maximize"), ("x", None)])
def test_more_is_better_where_the_number_is_of_an_evaluation(tmp_path, monitor, direction):
    (tmp_path / "plan.json").write_text(json.dumps({"settings": {"monitor": monitor}}))
    assert find_direction(SweepReader(tmp_path)) == direction


def test_numbers_of_an_evaluation_stand_in_the_table(sweep):
    (sweep / "0" / "evaluation.json").write_text('{"fid": 12.5, "clip": {"image": 0.75}, "note": "x", "bad": NaN}')
    found = page(sweep)
    assert "12.5" in found.texts["table"]
    assert "fidclip.imagesteps" in found.texts["button"], "and neither what is no number nor what is none"


def test_a_killed_process_is_what_the_sweep_says_it_is(sweep):
    write_run(sweep / "2", status=Status("running"))
    assert page(sweep).data["points"][2]["status"] == "failed"


@pytest.mark.parametrize("name", ["absent", "file", "empty"])
def test_a_folder_with_neither_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty" / "2026").mkdir(parents=True)
    with pytest.raises(UserError, match="give the folder of a sweep or of a run"):
        write_report(tmp_path / name)


def test_the_folder_above_runs_names_the_newest(tmp_path):
    write_run(tmp_path / "outputs" / "2026")
    with pytest.raises(UserError, match=r"the newest in it is .*2026"):
        write_report(tmp_path / "outputs")


def test_seeds_are_told_apart(sweep):
    assert {thumb["data-seed-name"] for thumb in page(sweep).thumbs} == set(SEEDS)


def test_the_concepts_of_a_run_stand_side_by_side(tmp_path):
    run = tmp_path / "run"
    extra = [{"concept": {"placeholder_token": "<dog>", "initializer_token": "toy", "num_vectors": {"clip_l": 1}}}]
    nearest = {"nearest/cat": {"<cat>": ["cat"]}, "nearest/dog": {"<dog>": ["wolf"]}}
    write_run(run, extra_concepts=extra, result={"embedding_stats": nearest})
    for name in ("cat", "dog"):
        write_sheets(run / "concepts" / name, [0, 10], word=f"<{name}>")
        (run / "concepts" / name / "learned_embeds.safetensors").write_bytes(b"")
    found = page(run)
    assert found.texts["h1"].strip() == "<cat>, <dog>"
    assert [thumb["data-column"] for thumb in found.thumbs[:8]] == ["0", "0", "1", "1", "2", "2", "3", "3"]
    assert {"./concepts/cat/learned_embeds.safetensors", "./concepts/dog/learned_embeds.safetensors"} <= {
        link["href"].replace("./.", ".") for link in found.all("a")
    }
    assert "wolf" in found.texts["section"]
    assert "'a {dog} on the beach'" in found.texts["pre"]
