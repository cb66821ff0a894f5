"""The command that users type, as a process of its own, on a tiny model."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12


def command(place: Path, *overrides: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "train.py"),
        "model=local",
        f"model.pretrained={place / 'model'}",
        f"data.folder={place / 'pictures'}",
        "concept.placeholder_token=my-cat",
        "concept.initializer_token=toy",
        "data.batch_size=2",
        "data.val_draws=4",
        f"trainer.max_steps={STEPS}",
        "trainer.accelerator=cpu",
        "trainer.val_check_interval=5",
        "trainer.log_every_n_steps=1",
        "callbacks.samples.every_n_steps=6",
        "callbacks.samples.num_inference_steps=2",
        "callbacks.samples.seeds=[0]",
        "callbacks.checkpoints.every_n_steps=2",
        "callbacks.checkpoints.total_limit=null",
        f"paths.root_dir={place / 'outputs'}",
        *overrides,
    ]


def run(argv: list[str], **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, **options)


def the_run(place: Path, name: str) -> Path:
    (folder,) = (place / "outputs" / name).iterdir()
    return folder


def rows(folder: Path) -> torch.Tensor:
    return load_file(folder / "learned_embeds.safetensors")["my-cat"]


def killed_after(argv: list[str], folder: Path, checkpoint: int) -> None:
    """Start a run and kill it without a warning as soon as it has written a checkpoint."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(folder.glob(f"*/checkpoints/step_{checkpoint:06d}.ckpt")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.Random(checkpoint).uniform(0, 0.4))
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()


def test_a_run_leaves_what_its_users_look_for(place):
    done = run(command(place, "name=whole"))
    assert done.returncode == 0, done.stderr
    folder = the_run(place, "whole")
    for file in (
        "learned_embeds.safetensors",
        "token_identifier.txt",
        "type_of_concept.txt",
        "samples/step_000000.png",
        "samples/step_000006.png",
        "samples/step_000012.png",
        "checkpoints/step_000012.ckpt",
        "metrics.csv",
        ".hydra/config.yaml",
        "run.json",
    ):
        assert (folder / file).is_file(), file
    assert rows(folder).shape == (1, 32)
    card = json.loads((folder / "run.json").read_text())
    assert card["status"] == "finished" and card["seed"] == 0
    assert "tinv generate --embedding" in done.stdout
    assert "Warning" not in done.stderr and "INFO" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_that_is_resumed_is_the_uninterrupted_run_to_the_last_bit(place, workers):
    """E-25: the reference script goes on with other samples."""
    options = ("optimizer.lr=1e-2", "scheduler=cosine", f"data.num_workers={workers}")
    assert run(command(place, f"name=straight{workers}", *options)).returncode == 0
    argv = command(place, f"name=killed{workers}", *options)
    killed_after(argv, place / "outputs" / f"killed{workers}", checkpoint=4)
    resumed = run([*argv, "resume=latest"])
    assert resumed.returncode == 0, resumed.stderr
    straight, killed = the_run(place, f"straight{workers}"), the_run(place, f"killed{workers}")
    assert torch.equal(rows(straight), rows(killed))
    assert (straight / "samples/step_000012.png").read_bytes() == (killed / "samples/step_000012.png").read_bytes()
    assert _losses(straight) == _losses(killed)


def _losses(folder: Path) -> list[tuple[str, str]]:
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    step, loss = lines[0].index("step"), lines[0].index("train/loss")
    return [(line[step], line[loss]) for line in lines[1:] if line[loss]]


@pytest.mark.slow
def test_a_truncated_checkpoint_falls_back_to_the_one_before_with_a_warning(place):
    argv = command(place, "name=truncated")
    assert run(argv).returncode == 0
    folder = the_run(place, "truncated")
    before = rows(folder)
    newest = folder / "checkpoints" / f"step_{STEPS:06d}.ckpt"
    newest.write_bytes(newest.read_bytes()[:-200])
    resumed = run([*argv, "resume=latest"])
    assert resumed.returncode == 0, resumed.stderr
    assert "step_000012.ckpt" in resumed.stderr and "passed over" in resumed.stderr
    assert torch.equal(rows(folder), before)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing_and_gives_its_number_again(place):
    """E-25: the reference script does another step for each epoch that is left."""
    argv = command(place, "name=finished")
    assert run(argv).returncode == 0
    before = rows(the_run(place, "finished"))
    again = run([*argv, "resume=latest"])
    assert again.returncode == 0, again.stderr
    assert torch.equal(rows(the_run(place, "finished")), before)


@pytest.mark.slow
def test_every_problem_is_told_at_once_before_any_weight_is_loaded(place, tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    model = shutil.copytree(place / "model", tmp_path / "model")
    for weights in model.rglob("*.safetensors"):
        weights.write_bytes(b"")
    wrong = ("concept.initializer_token='red cat'", f"data.folder={tmp_path}", "trainer.max_steps=0")
    failed = run(command(place, f"model.pretrained={model}", *wrong), cwd=tmp_path)
    assert failed.returncode == 1
    for complaint in ("trainer.max_steps", "a.png cannot be read", "is 2 tokens (`red</w>` `cat</w>`)"):
        assert complaint in failed.stderr
    assert "Traceback" not in failed.stderr and "weights" not in failed.stderr


@pytest.mark.slow
def test_a_sweep_gives_each_point_a_folder(place):
    done = run(command(place, "name=sweep", "-m", "embedding.num_vectors=1,3", "trainer.max_steps=2"))
    assert done.returncode == 0, done.stderr
    folder = the_run(place, "sweep")
    assert [rows(folder / point).shape[0] for point in ("0", "1")] == [1, 3]


def test_warnings_of_ours_are_a_line_and_those_of_others_say_where_they_come_from():
    from tinv.training import run

    assert run.in_a_line("no mask for a.png", UserWarning, run.__file__, 3) == "warning: no mask for a.png\n"
    assert run.in_a_line("old", DeprecationWarning, run.__file__, 3).startswith(f"{run.__file__}:3: Deprecation")
    assert run.in_a_line("no", UserWarning, torch.__file__, 3).startswith(f"{torch.__file__}:3: UserWarning")
