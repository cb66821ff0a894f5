"""`tinv benchmark toybench`: a sweep over the twelve, taken up where it was, and what it comes to."""

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


def test_its_sweep_has_a_point_for_each_of_the_twelve_and_the_settings_that_were_typed(tmp_path: Path) -> None:
    """In a process of its own, as it is started: the plan, without a run."""
    words = training_command(
        tmp_path / "out", [*sweep_arguments(tmp_path / "out", NAMES, ["embedding.ema=0.5"]), "sweep.dry_run=true"]
    )
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 points to run" in done.stdout
    assert all(name in done.stdout for name in NAMES)


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    begun = tmp_path / "runs" / "2026-11-22_20-00-00"
    begun.mkdir(parents=True)
    (begun / "plan.json").write_text("{}")
    assert training_command(tmp_path, sweep_arguments(tmp_path, NAMES, []))[-1] == f"sweep.resume={begun}"


def test_the_command_can_be_printed_to_be_typed_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", str(tmp_path), "--toys", "teal_mug,lime_cat", "--print", "loss=debiased"]
    assert main(["benchmark", "toybench", *options]) == 0
    said = shlex.split(capsys.readouterr().out)
    assert said[1:] == [
        "-m",
        "tinv.training.main",
        *sweep_arguments(tmp_path, ["teal_mug", "lime_cat"], ["loss=debiased"]),
    ]
    assert "concept.name=teal_mug,lime_cat" in said


@pytest.mark.slow
def test_the_libraries_give_no_advice(tmp_path: Path) -> None:
    sweep_arguments = ["benchmark", "toybench", "--out", str(tmp_path), "--print"]
    done = subprocess.run(
        [sys.executable, "-m", "tinv.cli", *sweep_arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_toys_are_chosen_by_their_names_and_in_one_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--toys: there is no red_cat; there are lime_cat, teal_dog"):
        sweep_arguments(tmp_path, ["red_cat"], [])
    with pytest.raises(UserError, match="say --toys lime_cat"):
        sweep_arguments(tmp_path, NAMES, ["concept.name=lime_cat"])


def test_settings_that_leave_the_sheets_out_are_not_contradicted(tmp_path: Path) -> None:
    sheets = "callbacks.samples.every_n_steps=null"
    assert sheets in sweep_arguments(tmp_path, NAMES, ["seed=0,1"])
    assert not any(
        sheets in sweep_arguments(tmp_path, NAMES, [text]) for text in ("callbacks=none", "~callbacks.samples")
    )


@pytest.mark.slow
def test_two_methods_are_learned_drawn_and_measured_once_and_other_settings_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["benchmark", "toybench", "--out", str(tmp_path), "--toys", "teal_mug,lime_cat", "--seeds", "0"]
    options += ["--num-inference-steps", "1", "--device", "cpu"]
    short = ["trainer=cpu", "trainer.max_steps=2", "data.batch_size=1", "data.val_draws=2"]
    short += ["callbacks=[run_card,export]"]
    methods = "loss=mse,debiased"
    assert main([*options, *short, methods, "seed=0,1"]) == 0
    summary = json.loads((tmp_path / "toybench.json").read_text())
    assert [group["settings"] for group in summary["groups"]] == [{"loss": "plain"}, {"loss": "debiased"}]
    for group in summary["groups"]:
        assert [len(part["runs"]) for part in group["subjects"].values()] == [2, 2]
        own = [part["scores"]["recovery"] for part in group["subjects"].values()]
        assert group["scores"]["recovery"] == pytest.approx(sum(own) / 2, abs=1e-5)
        assert (group["count"]["recovery"], group["missing"]) == (2, [])
    said = capfd.readouterr().out
    assert "loss=debiased" in said
    assert "recovery" in said
    assert main([*options, *short, methods, "seed=0,1"]) == 0
    assert capfd.readouterr().out.count("(was there)") == 8
    assert main([*options, *short, methods, "seed=0,1", "optimizer.lr=0.5"]) == 1
    said = capfd.readouterr().err
    assert "optimizer.lr was 0.01 and is 0.5" in said
    assert "was begun with other settings; repeat those, or give --out another folder" in said
