"""`tinv benchmark toybench` trains a sweep over the toys, resumes it, and summarizes the scores."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tinv.cli import main
from tinv.errors import UserError
from tinv.evaluation.dreambench.subject_runs import training_command
from tinv.toybox.toybench import NAMES
from tinv.toybox.toybench.benchmark import sweep_arguments


def test_the_sweep_has_a_point_for_each_toy(tmp_path: Path) -> None:
    """The plan of the sweep in a process of its own, without a run."""
    words = training_command(
        tmp_path / "out", [*sweep_arguments(tmp_path / "out", NAMES, ["embedding.ema=0.5"]), "sweep.dry_run=true"]
    )
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 points to run" in done.stdout
    assert all(name in done.stdout for name in NAMES)


def test_the_latest_sweep_is_resumed(tmp_path: Path) -> None:
    sweep = tmp_path / "runs" / "2026-11-22_20-00-00"
    sweep.mkdir(parents=True)
    (sweep / "plan.json").write_text("{}")
    assert training_command(tmp_path, sweep_arguments(tmp_path, NAMES, []))[-1] == f"sweep.resume={sweep}"


def test_the_training_command_can_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--toys", "teal_mug,lime_cat", "--print", "loss=debiased"]
    assert main(["benchmark", "toybench", *options]) == 0
    command = shlex.split(capsys.readouterr().out)
    assert command[1:] == [
        "-m",
        "tinv.training.main",
        *sweep_arguments(tmp_path, ["teal_mug", "lime_cat"], ["loss=debiased"]),
    ]
    assert "concept.name=teal_mug,lime_cat" in command


@pytest.mark.slow
def test_libraries_print_no_warnings(tmp_path: Path) -> None:
    sweep_arguments = ["benchmark", "toybench", "--out", str(tmp_path), "--print"]
    done = subprocess.run(
        [sys.executable, "-m", "tinv.cli", *sweep_arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_unknown_toys_and_an_override_of_the_toys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--toys=red_cat: no such toy\. Choose from lime_cat, teal_dog"):
        sweep_arguments(tmp_path, ["red_cat"], [])
    with pytest.raises(UserError, match="Use --toys lime_cat"):
        sweep_arguments(tmp_path, NAMES, ["concept.name=lime_cat"])


def test_samples_during_training_are_off_unless_callbacks_are_overridden(tmp_path: Path) -> None:
    sheets = "callbacks.samples.every_n_steps=null"
    assert sheets in sweep_arguments(tmp_path, NAMES, ["seed=0,1"])
    assert not any(
        sheets in sweep_arguments(tmp_path, NAMES, [text]) for text in ("callbacks=none", "~callbacks.samples")
    )


@pytest.mark.slow
def test_two_methods_are_trained_and_measured_once_and_other_settings_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["benchmark", "toybench", "--out", str(tmp_path), "--toys", "teal_mug,lime_cat", "--seeds", "0"]
    options += ["--num-inference-steps", "1", "--device", "cpu"]
    short = ["trainer=cpu", "trainer.max_steps=2", "data.batch_size=1", "data.val_draws=2"]
    short += ["callbacks=[run_card,export]"]
    methods = "loss=mse,debiased"
    assert main([*options, *short, methods, "seed=0,1"]) == 0
    summary = json.loads((tmp_path / "toybench.json").read_text())
    assert [group["settings"] for group in summary["groups"]] == [{"loss": "mse"}, {"loss": "debiased"}]
    for group in summary["groups"]:
        assert [len(part["runs"]) for part in group["subjects"].values()] == [2, 2]
        own = [part["scores"]["recovery"] for part in group["subjects"].values()]
        assert group["scores"]["recovery"] == pytest.approx(sum(own) / 2, abs=1e-5)
        assert (group["count"]["recovery"], group["missing"]) == (2, [])
    output = capfd.readouterr().out
    assert "loss=debiased" in output
    assert "recovery" in output
    assert main([*options, *short, methods, "seed=0,1"]) == 0
    assert capfd.readouterr().out.count("(unchanged)") == 8
    assert main([*options, *short, methods, "seed=0,1", "optimizer.lr=0.5"]) == 1
    error = capfd.readouterr().err
    assert "optimizer.lr was 0.01 and is 0.5" in error
    assert "was started with other settings. Repeat those, or give another folder" in error
