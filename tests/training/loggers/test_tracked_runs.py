"""train.py with `logger=wandb` as a process: sweeps, several processes, secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.loggers.reading import read_sessions

ROOT = Path(__file__).resolve().parents[3]
SECRETS = {"WANDB_API_KEY": "0123456789abcdef" * 3, "HF_TOKEN": "hf_" + "AbCdEf0123456789" * 2}
SETTINGS = """model=local model.pretrained=model data.folder=images data.batch_size=2 data.val_draws=2
concept.placeholder_token=my-cat concept.initializer_token=toy trainer.max_steps=4 trainer.log_every_n_steps=1
callbacks.samples.num_inference_steps=1 callbacks.samples.seeds=[0] callbacks.checkpoints.every_n_steps=2
logger=wandb logger.wandb.mode=offline""".split()
pytestmark = pytest.mark.slow


def train(folder, *argv, code=0):
    environment = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, *argv]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def swept(workspace):
    """A sweep of three points, of which one fails in the training and one before, and its process."""
    done = train(workspace, "-m", "trainer=cpu", "name=swept", "optimizer.lr=1e30,1e-3,1e38", code=1)
    (sweep,) = (workspace / "outputs" / "swept").iterdir()
    return sweep, done


def test_each_sweep_point_is_a_run_and_failures_are_marked(swept):
    sweep, _ = swept
    points = failed, finished, rejected = [s for number in range(3) for s in read_sessions(sweep / str(number))]
    assert len({point.run.run_id for point in points}) == 3
    (group,) = {point.run.run_group for point in points}
    assert group.startswith(f"{sweep.name}-")
    assert [point.run.display_name for point in points] == ["swept lr=1e+30", "swept lr=0.001", "swept lr=1e+38"]
    assert [point.exit_code for point in points] == [1, 0, 1]
    assert "became infinite" in failed.summary["error"] and "optimizer: " in rejected.summary["error"]
    assert [point.config["optimizer"]["lr"] for point in points] == [1e30, 1e-3, 1e38]
    assert "optimizer.lr=0.001" in finished.config["overrides"]
    assert finished.config["choices"]["logger"] == "wandb"
    assert (finished.order, rejected.order) == ([0, 1, 2, 3, 4], [])


def test_no_secret_is_in_any_file_or_output(swept):
    sweep, done = swept
    files = [path for path in sweep.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_two_processes_make_one_run(workspace):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    train(workspace, *two, "name=ddp", "data.batch_size=1")
    (run,) = (workspace / "outputs" / "ddp").iterdir()
    (session,) = read_sessions(run)
    assert (session.order, session.exit_code) == ([0, 1, 2, 3, 4], 0)
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
