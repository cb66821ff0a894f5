"""`tinv evaluate` where something is wrong: a sentence each, and nothing half-written."""

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

from tests.cli.test_cli import learn
from tests.tiny import tiny_images
from tinv.cli import main
from tinv.evaluation import results
from tinv.models import LatentDiffusion
from tinv.runs import status

FAST = [
    "--prompt",
    "a red {}",
    "--seeds",
    "0,1",
    "--num-inference-steps",
    "1",
    "--guidance-scale",
    "2",
    "--device",
    "cpu",
]
FAST += ["--feature-extractors", "toybox", "--class-noun", "toy"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tiny_images(tmp_path / "images", 2)


def evaluated(place: Path, *options: object) -> int:
    return main(["evaluate", str(place), *FAST, *map(str, options)])


def scores(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation.json").read_text())["scores"]


def left(folder: Path) -> set[str]:
    """Everything that an evaluation might leave."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "evaluation" in name and not name.endswith("/.lock")}


def one_sentence(said: str) -> bool:
    return len(said.strip().splitlines()) == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda run, images: shutil.rmtree(run) or run.mkdir(), "holds no learned_embeds.safetensors"),
        (lambda run, images: shutil.rmtree(run), "there is no"),
        (lambda run, images: (run / "learned_embeds.safetensors").write_bytes(b"abc"), "learned_embeds.safetensors"),
        (lambda run, images: [path.unlink() for path in images.iterdir()], "--images = .*: no images"),
        (lambda run, images: shutil.rmtree(images), "--images = .*: no such folder"),
        (lambda run, images: (images / "1.png").write_bytes(b"abc"), "1.png: cannot be read as an image"),
        (
            lambda run, images: Image.new("1", (13_000, 13_000)).save(images / "1.png"),
            "more than the limit of 150 megapixels",
        ),
        (lambda run, images: (run / "evaluation").write_text(""), "cannot write to .*evaluation"),
    ],
    ids=["empty", "gone", "broken", "no pictures", "no folder", "no picture", "huge", "in the way"],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence_before_anything_is_drawn(
    tmp_path: Path, model: LatentDiffusion, images: Path, capsys: pytest.CaptureFixture[str], spoil: Any, complaint: str
) -> None:
    run = learn(tmp_path / "run", model)
    spoil(run, images)
    assert evaluated(run, "--images", images) == 1
    said = capsys.readouterr().err
    assert one_sentence(said)
    assert re.search(complaint, said), said
    assert not left(tmp_path) - {"run/evaluation"}


def test_a_word_for_another_model_is_refused(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    run = learn(tmp_path / "run", model, width=48)
    assert evaluated(run) == 1
    said = capsys.readouterr().err
    assert one_sentence(said)
    assert "has vectors of width 48" in said
    assert not left(tmp_path)


@pytest.mark.parametrize(("file", "text"), [("config.yaml", "a: [b"), ("hydra.yaml", "a: [b"), ("hydra.yaml", "")])
def test_settings_that_cannot_be_read_are_refused(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str], file: str, text: str
) -> None:
    run = learn(tmp_path / "run", model)
    (run / ".hydra").mkdir()
    (run / "run.json").write_text("{}")
    settings = {"concept": {"placeholder_token": "<cat-toy>"}, "data": {"folder": "x", "recursive": False}}
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(settings))
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": {"runtime": {"cwd": str(tmp_path)}}}))
    (run / ".hydra" / file).write_text(text)
    assert evaluated(run) == 1
    said = capsys.readouterr().err
    assert one_sentence(said)
    assert "cannot be read" in said
    assert not left(tmp_path)


def test_of_a_sweep_with_failed_points_the_others_are_measured(
    tmp_path: Path, model: LatentDiffusion, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    for point in (0, 2):
        learn(sweep / str(point), model, seed=point)
    for point in (1, 3):
        (sweep / str(point)).mkdir()
        status.write_status(sweep / str(point), status.Status(status="failed", reason="out of memory"))
    assert evaluated(sweep, "--images", images) == 0
    assert f"left out 1, 3, without a word; tinv status {sweep} says why" in capsys.readouterr().err
    assert json.loads((sweep / "evaluation.json").read_text())["count"]["clip_i"] == 2


def test_one_training_picture_is_enough_for_fidelity_but_not_for_copies(
    tmp_path: Path, model: LatentDiffusion, images: Path
) -> None:
    run = learn(tmp_path / "run", model)
    (images / "1.png").unlink()
    assert evaluated(run, "--images", images) == 0
    found = scores(run)
    assert found["clip_i"] == found["nearest"]
    assert found["copies"] is None
    assert json.loads((run / "evaluation.json").read_text())["reference_points"] == {}


def test_an_evaluation_that_cannot_be_read_is_made_again(tmp_path: Path, model: LatentDiffusion, images: Path) -> None:
    run = learn(tmp_path / "run", model)
    assert evaluated(run, "--images", images) == 0
    before = scores(run)
    for text in (b"", b"{", b"[]", b'{"scores": 1}', b"\xff\xfe"):
        (run / "evaluation.json").write_bytes(text)
        assert results.read(run) is None
    (run / "evaluation" / "drawn.json").write_bytes(text)
    assert evaluated(run, "--images", images) == 0
    assert scores(run) == before


def test_two_at_once_would_take_each_others_samples_away(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    run = learn(tmp_path / "run", model)
    (run / "evaluation").mkdir()
    with FileLock(run / "evaluation" / ".lock"):
        assert evaluated(run) == 1
    said = capsys.readouterr().err
    assert one_sentence(said)
    assert "another process is measuring this word; wait for it" in said
    assert not left(tmp_path)
    assert evaluated(run) == 0


@pytest.mark.parametrize("room", [100, 1200], ids=["for nothing", "for no picture"])
def test_a_full_disk_leaves_nothing_half_written_and_what_is_left_goes_on(
    tmp_path: Path, model: LatentDiffusion, images: Path, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    """A limit on the size of files stands for it: a picture has more than 1200 bytes, the stamp fewer."""
    resource = pytest.importorskip("resource", reason="Windows has no file size limits")
    run = learn(tmp_path / "run", model)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        code = evaluated(run, "--images", images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    said = capsys.readouterr().err
    assert code == 1
    assert one_sentence(said)
    assert "cannot write" in said
    assert left(tmp_path) == (set() if room == 100 else {"run/evaluation/drawn.json"})
    assert evaluated(run, "--images", images) == 0
    again = learn(tmp_path / "again", model)
    assert evaluated(again, "--images", images) == 0
    assert scores(run) == scores(again)
