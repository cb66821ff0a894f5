"""`tinv evaluate` refuses what is wrong in one sentence and writes no partial files."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from PIL import Image

from tests.cli.test_cli import make_run
from tests.tiny import tiny_images
from tinv.cli import main
from tinv.evaluation import results
from tinv.models import LatentDiffusion
from tinv.runs.record_status import write_status
from tinv.runs.status import Status

FAST = "--prompt;a red {};--seeds;0,1;--num-inference-steps;1;--guidance-scale;2;--device;cpu".split(";")
FAST += ["--feature-extractors", "toybox", "--class-noun", "toy"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "images", 2)


@pytest.fixture
def run(tmp_path: Path, model: LatentDiffusion) -> Path:
    return make_run(tmp_path / "run", model)


def evaluate(path: Path, *options: object) -> int:
    return main(["evaluate", str(path), *FAST, *map(str, options)])


def refusal(capsys: pytest.CaptureFixture[str], path: Path, *options: object) -> str:
    """Returns the one line that a refused evaluation prints."""
    capsys.readouterr()
    assert evaluate(path, *options) == 1
    message = capsys.readouterr().err
    assert len(message.strip().splitlines()) == 1 and "Traceback" not in message
    return message


def scores(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())["scores"]


def evaluation_files(folder: Path) -> set[str]:
    """Returns the names of all files that an evaluation may leave."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if "evaluation" in name and not name.endswith("/.lock")}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run, images: shutil.rmtree(run) or run.mkdir(), "holds no learned_embeds.safetensors"),
        (lambda run, images: shutil.rmtree(run), "there is no"),
        (lambda run, images: (run / "learned_embeds.safetensors").write_bytes(b"abc"), "learned_embeds.safetensors"),
        (lambda run, images: [path.unlink() for path in images.iterdir()], "--images=.*: no images"),
        (lambda run, images: shutil.rmtree(images), "--images=.*: no such folder"),
        (lambda run, images: (images / "1.png").write_bytes(b"abc"), "1.png: cannot be read as an image"),
        (
            lambda run, images: Image.new("1", (13_000, 13_000)).save(images / "1.png"),
            "more than the limit of 64 megapixels",
        ),
        (lambda run, images: (run / "evaluation").write_text(""), "cannot write to .*evaluation"),
    ],
    ids=["empty", "gone", "broken", "no images", "no folder", "no image", "huge", "in the way"],
)
def test_a_wrong_input_is_refused_before_anything_is_drawn(
    tmp_path: Path, run: Path, images: Path, capsys: pytest.CaptureFixture[str], spoil: Any, reason: str
) -> None:
    spoil(run, images)
    message = refusal(capsys, run, "--images", images)
    assert re.search(reason, message), message
    assert not evaluation_files(tmp_path) - {"run/evaluation"}


def test_an_embedding_for_another_model_is_refused(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "width 48" in refusal(capsys, make_run(tmp_path / "wide", model, width=48))
    assert not evaluation_files(tmp_path)


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "a: [b"), ("hydra.yaml", "a: [b"), ("hydra.yaml", "")])
def test_unreadable_settings_are_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str], file: str, text: str
) -> None:
    (run / ".hydra").mkdir()
    (run / "run.json").write_text('{"seed": 0}')
    settings = {"concept": {"placeholder_token": "<cat-toy>"}, "data": {"folder": "x", "recursive": False}}
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(tmp_path)}}}))
    (run / ".hydra" / file).write_text(text)
    assert "cannot be read" in refusal(capsys, run)
    assert not evaluation_files(tmp_path)


def test_failed_points_of_a_sweep_are_skipped(
    tmp_path: Path, model: LatentDiffusion, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    for point in (0, 2):
        make_run(sweep / str(point), model, seed=point)
    for point in (1, 3):
        (sweep / str(point)).mkdir()
        write_status(sweep / str(point), Status(status="failed", reason="out of memory"))
    assert evaluate(sweep, "--images", images) == 0
    assert f"skipped 1, 3, which have no embedding; see `tinv status {sweep}`" in capsys.readouterr().err
    assert json.loads((sweep / "evaluation.json").read_text())["count"]["clip_i"] == 2


def test_one_training_image_gives_image_similarity_but_no_copies(run: Path, images: Path) -> None:
    (images / "1.png").unlink()
    assert evaluate(run, "--images", images) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["scores"]["clip_i"] == result["scores"]["nearest"]
    assert result["scores"]["copies"] is None
    assert result["reference_scores"] == {}


def test_a_damaged_evaluation_is_repeated(run: Path, images: Path) -> None:
    assert evaluate(run, "--images", images) == 0
    before = scores(run)
    for text in (b"", b"{", b"[]", b'{"scores": 1}', b"\xff\xfe"):
        (run / "evaluation.json").write_bytes(text)
        assert results.read_result(run) is None
    (run / "evaluation" / "samples.json").write_bytes(text)
    assert evaluate(run, "--images", images) == 0
    assert scores(run) == before


def test_two_processes_do_not_evaluate_one_embedding(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evaluation").mkdir()
    with FileLock(run / "evaluation" / ".lock"):
        assert "another process is evaluating this embedding; wait for it" in refusal(capsys, run)
    assert not evaluation_files(tmp_path)
    assert evaluate(run) == 0


@pytest.mark.parametrize("limit", [100, 1200], ids=["nothing fits", "no sample fits"])
def test_a_full_disk_leaves_no_partial_files_and_the_evaluation_continues(
    tmp_path: Path, model: LatentDiffusion, run: Path, images: Path, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    """A limit on the size of files stands in for it: a sample has more than 1200 bytes, its settings have fewer."""
    resource = pytest.importorskip("resource", reason="Windows has no file size limits")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        assert "cannot write" in refusal(capsys, run, "--images", images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert evaluation_files(tmp_path) == (set() if limit == 100 else {"run/evaluation/samples.json"})
    other = make_run(tmp_path / "other", model)
    assert evaluate(run, "--images", images) == evaluate(other, "--images", images) == 0
    assert scores(run) == scores(other)
