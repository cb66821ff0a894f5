"""`train.py` as users type it, in a process of its own, on a tiny model."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.tiny import fit, tiny_data, tiny_module
from tinv.training import run as training_run

STEPS = 12


def command(workspace: Path, *overrides: str) -> list[str]:
    settings = f"""model=local model.pretrained={workspace}/model data.folder={workspace}/images
    concept.placeholder_token=my-cat concept.initializer_token=toy data.batch_size=2 data.val_draws=4
    trainer.max_steps={STEPS} trainer.accelerator=cpu trainer.val_check_interval=5 trainer.log_every_n_steps=1
    callbacks.samples.every_n_steps=6 callbacks.samples.num_inference_steps=2 callbacks.samples.seeds=[0]
    callbacks.checkpoints.every_n_steps=2 callbacks.checkpoints.total_limit=null paths.root_dir={workspace}/outputs"""
    return [sys.executable, str(ROOT / "train.py"), *settings.split(), *overrides]


def run(argv: list[str], **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, **options)


def run_dir(workspace: Path, name: str) -> Path:
    (folder,) = (workspace / "outputs" / name).iterdir()
    return folder


def learned(folder: Path) -> torch.Tensor:
    return load_file(folder / "learned_embeds.safetensors")["my-cat"]


def run_and_kill(argv: list[str], folder: Path, checkpoint: int) -> None:
    """Start a run, and kill it soon after it has written a checkpoint."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(folder.glob(f"*/checkpoints/step_{checkpoint:06d}.ckpt")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.Random(checkpoint).uniform(0, 0.4))
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()


def test_run_writes_its_files(workspace):
    done = run(command(workspace, "name=files"))
    assert done.returncode == 0, done.stderr
    folder = run_dir(workspace, "files")
    for file in (
        *("learned_embeds.safetensors", "token_identifier.txt", "type_of_concept.txt"),
        *(f"samples/step_{step:06d}.png" for step in (0, 6, 12)),
        *("checkpoints/step_000012.ckpt", "metrics.csv", ".hydra/config.yaml", "run.json"),
    ):
        assert (folder / file).is_file(), file
    assert learned(folder).shape == (1, 32)
    card = json.loads((folder / "run.json").read_text())
    assert card["status"] == "finished" and card["seed"] == 0
    assert "tinv generate --embedding" in done.stdout
    assert "Warning" not in done.stderr and "INFO" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_run_is_bit_identical(workspace, workers):
    """The reference script continues with other samples."""
    options = ("optimizer.lr=1e-2", "scheduler=cosine", f"data.num_workers={workers}")
    names = f"uninterrupted{workers}", f"killed{workers}"
    assert run(command(workspace, f"name={names[0]}", *options)).returncode == 0
    argv = command(workspace, f"name={names[1]}", *options)
    run_and_kill(argv, workspace / "outputs" / names[1], checkpoint=4)
    resumed = run([*argv, "resume=latest"])
    assert resumed.returncode == 0, resumed.stderr
    folders = [run_dir(workspace, name) for name in names]
    assert torch.equal(*map(learned, folders))
    samples = [(folder / "samples/step_000012.png").read_bytes() for folder in folders]
    assert samples[0] == samples[1]
    losses = [read_losses(folder) for folder in folders]
    assert losses[0] == losses[1]


def read_losses(folder: Path) -> list[tuple[str, str]]:
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    step, loss = lines[0].index("step"), lines[0].index("train/loss")
    return [(line[step], line[loss]) for line in lines[1:] if line[loss]]


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing_even_if_its_last_checkpoint_is_broken(workspace):
    """The reference script makes another step for each epoch that is left."""
    argv = command(workspace, "name=finished")
    assert run(argv).returncode == 0
    folder = run_dir(workspace, "finished")
    before, newest = learned(folder), folder / "checkpoints" / f"step_{STEPS:06d}.ckpt"
    again = run([*argv, "resume=latest"])
    assert again.returncode == 0, again.stderr
    assert torch.equal(learned(folder), before)
    newest.write_bytes(newest.read_bytes()[:-200])
    resumed = run([*argv, "resume=latest"])
    assert resumed.returncode == 0, resumed.stderr
    assert "step_000012.ckpt" in resumed.stderr
    assert torch.equal(learned(folder), before)


@pytest.mark.slow
def test_every_problem_is_reported_at_once_before_any_weight_is_loaded(workspace, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    model = shutil.copytree(workspace / "model", tmp_path / "model")
    for weights in model.rglob("*.safetensors"):
        weights.write_bytes(b"")
    overrides = ("concept.initializer_token='red cat'", f"data.folder={tmp_path}", "trainer.max_steps=0")
    failed = run(command(workspace, f"model.pretrained={model}", *overrides), cwd=tmp_path)
    assert failed.returncode == 1
    for setting in ("trainer.max_steps", "a.png", "concept.initializer_token"):
        assert setting in failed.stderr
    assert "Traceback" not in failed.stderr and "weights" not in failed.stderr


@pytest.mark.slow
def test_each_point_of_a_sweep_has_a_folder(workspace):
    done = run(command(workspace, "name=sweep", "-m", "embedding.num_vectors=1,3", "trainer.max_steps=2"))
    assert done.returncode == 0, done.stderr
    folder = run_dir(workspace, "sweep")
    assert [learned(folder / point).shape[0] for point in ("0", "1")] == [1, 3]


def test_warnings_of_tinv_have_no_source_line():
    path = training_run.__file__
    assert training_run.format_warning("no mask for a.png", UserWarning, path, 3) == "warning: no mask for a.png\n"
    assert training_run.format_warning("old", DeprecationWarning, path, 3).startswith(f"{path}:3: Deprecation")
    assert training_run.format_warning("no", UserWarning, torch.__file__, 3).startswith(f"{torch.__file__}:3: User")


def test_lightnings_advice_about_short_runs_and_processes_is_hidden(model, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training_run._configure_warnings()
        data = tiny_data(tmp_path, model)
        fit(
            tiny_module(model),
            data,
            max_steps=2,
            val_check_interval=2,
            log_every_n_steps=50,
            logger=CSVLogger(tmp_path),
        )
    assert not [text for warning in caught if "logging interval" in (text := str(warning.message))]
