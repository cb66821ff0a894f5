"""Runs with `early_stopping` and `keep`, from the config to the files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.composing import composed, groups
from tests.conftest import ROOT
from tests.tiny import tiny_images, tiny_pipeline
from tinv import formats
from tinv.config.override_errors import find_problems
from tinv.config.validate import ConfigError
from tinv.training.preflight import preflight
from tinv.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OVERRIDES = """model=local concept.placeholder_token=my-cat concept.initializer_token=toy
data.batch_size=2 data.val_draws=4 trainer.accelerator=cpu trainer.log_every_n_steps=1 trainer.val_check_interval=2
callbacks.export.every_n_steps=1 ~callbacks.samples""".split()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and images of two concepts."""
    folder = tmp_path_factory.mktemp("stopping")
    tiny_pipeline(folder / "model")
    tiny_images(folder / "cats")
    tiny_images(folder / "dogs", count=2)
    return folder


def settings(inputs: Path, run: Path, overrides: str) -> Any:
    """Returns the config of a run; `overrides` are separated by spaces."""
    folders = [f"model.pretrained={inputs / 'model'}", f"data.folder={inputs / 'cats'}"]
    return composed(*OVERRIDES, *folders, *overrides.split(), output_dir=str(run))


def card(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())["result"]


def column(run: Path, name: str) -> dict[int, float]:
    with (run / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def test_patience_stops_and_keep_best_gives_result_and_value(inputs, tmp_path, capsys):
    rule = "early_stopping=patience early_stopping.patience=3 keep=best"
    worst = "early_stopping.mode=max keep.mode=max"  # training only lowers val/loss
    value = train(settings(inputs, tmp_path, f"{rule} {worst} trainer.max_steps=30"))
    output = capsys.readouterr().out
    measured = column(tmp_path, "val/loss")
    best = max(measured, key=measured.get)
    steps = max(measured)
    assert steps == best + 6 < 30, "three measurements, two steps apart, that are no improvement"
    assert value == measured[best] > measured[steps]
    assert card(tmp_path)["early_stopping"]["step"] == card(tmp_path)["steps"] == steps
    assert card(tmp_path)["best"] == {"step": best, "val/loss": measured[best]}
    assert f"stopped at step {steps} of 30: val/loss has not improved in 3 measurements" in output
    assert f"kept the embedding of step {best}: val/loss" in output
    result, best_export = (formats.read(tmp_path / f"learned_embeds{x}.safetensors") for x in ("", f"-steps-{best}"))
    assert torch.equal(result.vectors["clip_l"], best_export.vectors["clip_l"])


def test_dvar_stops_a_run_of_two_concepts_when_both_have_converged(inputs, tmp_path, capsys):
    rule = "early_stopping=dvar early_stopping.stride=1 early_stopping.window=3 early_stopping.threshold=0.6 keep=best"
    dog = f"""+extra_concept@extra_concepts.dog=style extra_concepts.dog.data.folder={inputs / "dogs"}
        extra_concepts.dog.concept.placeholder_token=my-dog extra_concepts.dog.concept.initializer_token=dog"""
    train(settings(inputs, tmp_path, f"{rule} trainer.max_steps=80 {dog}"))
    steps = card(tmp_path)["steps"]
    curves = [column(tmp_path, f"early_stopping/loss/my-{name}") for name in ("cat", "dog")]
    assert steps < 80 and [max(curve) for curve in curves] == [steps, steps]
    reason = card(tmp_path)["early_stopping"]["reason"]
    since = [int(part.rpartition("(step ")[2].rstrip(")")) for part in reason.split("; ")]
    assert max(since) == steps and "my-cat: the loss of 4 fixed samples" in reason and "my-dog: " in reason
    best = {row["concept"]: row["step"] for row in card(tmp_path)["best"]}
    for name in ("my-cat", "my-dog"):
        losses = column(tmp_path, f"val/loss/{name}")
        assert best[name] == min(losses, key=losses.get), "each concept has its own"
        assert formats.read(tmp_path / "concepts" / name).provenance["steps"] == str(best[name])


def test_clip_turns_on_the_evaluation(inputs, tmp_path):
    cfg = settings(inputs, tmp_path, "early_stopping=clip")
    assert cfg.early_stopping.monitor == "eval/clip_i" and cfg.early_stopping.min_delta == 0.02
    assert cfg.callbacks.evaluation.every_n_steps == 50
    assert settings(inputs, tmp_path, "").callbacks.evaluation.every_n_steps is None


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("early_stopping=patience monitor=eval/score", r"eval/score: .*Set callbacks\.evaluation\.every_n_steps=50"),
        ("keep=best monitor=eval/clip_i", r"monitor=eval/clip_i: this run does not measure it"),
        ("keep=best keep.monitor=early_stopping/loss", r"keep\.monitor=.*loss: .*Set early_stopping=dvar"),
    ],
)
def test_a_metric_that_nothing_measures_raises_before_the_model_loads(inputs, tmp_path, extra, message):
    with pytest.raises(ConfigError, match=message):
        preflight(settings(inputs, tmp_path, extra))


@pytest.mark.parametrize("extra", ["dvar keep.monitor=early_stopping/loss", "clip monitor=eval/score"])
def test_a_metric_that_a_callback_measures_can_be_monitored(inputs, tmp_path, extra):
    preflight(settings(inputs, tmp_path, f"keep=best early_stopping={extra}"))


def test_unknown_settings_raise_before_anything_is_loaded(inputs, tmp_path):
    message = r"early_stopping\.windw: DVARStopping takes no such argument \(did you mean window\?\)"
    with pytest.raises(ConfigError, match=message):
        settings(inputs, tmp_path, "early_stopping=dvar +early_stopping.windw=3")
    assert any("dvar" in problem.text for problem in find_problems(groups(), ["early_stopping=dvr"], multirun=False))


def _run_command(inputs: Path, *overrides: str) -> dict[str, Any]:
    """Runs train.py; returns the result in its run card and its output."""
    command = [sys.executable, str(ROOT / "train.py"), *overrides, f"paths.root_dir={inputs / 'outputs'}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=inputs, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    name = next(text.partition("=")[2] for text in overrides if text.startswith("name="))
    (run,) = (inputs / "outputs" / name).iterdir()
    return {**card(run), "out": done.stdout}


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        "early_stopping=patience early_stopping.mode=max early_stopping.patience=2",
        "early_stopping=dvar early_stopping.stride=1 early_stopping.window=3 early_stopping.threshold=0.6",
    ],
)
def test_two_processes_stop_at_the_same_step_as_one(inputs, rule):
    common = [*OVERRIDES, *f"model.pretrained=model data.folder=cats trainer.max_steps=40 {rule} keep=best".split()]
    two = "trainer=ddp trainer.accelerator=cpu trainer.devices=2 trainer.precision=32-true data.batch_size=1".split()
    kind = rule.partition(" ")[0].partition("=")[2]
    single = _run_command(inputs, *common, f"name=one-{kind}")
    double = _run_command(inputs, *common, *two, f"name=two-{kind}")
    assert single["early_stopping"]["step"] == double["early_stopping"]["step"] < 40
    assert single["best"]["step"] == double["best"]["step"]
    assert double["out"].count("stopped at step") == double["out"].count("kept the embedding") == 1
