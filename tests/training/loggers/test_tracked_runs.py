"""The command that users type with `logger=wandb`, as a process of its own: sweeps, several processes, secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.loggers.reading import sessions

ROOT = Path(__file__).resolve().parents[3]
SECRETS = {"WANDB_API_KEY": "0123456789abcdef" * 3, "HF_TOKEN": "hf_" + "AbCdEf0123456789" * 2}
SETTINGS = """model=local model.pretrained=model data.folder=pictures concept.placeholder_token=my-cat concept.initializer_token=toy
data.batch_size=2 data.val_draws=2 trainer.max_steps=4 trainer.log_every_n_steps=1 callbacks.samples.num_inference_steps=1
callbacks.samples.seeds=[0] callbacks.checkpoints.every_n_steps=2 logger=wandb logger.wandb.mode=offline""".split()
pytestmark = pytest.mark.slow


def train(place, *argv, code=0):
    environment = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, *argv]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def swept(place):
    """A sweep of three points, of which one fails in its training and one before; and what it said."""
    done = train(place, "-m", "trainer=cpu", "name=swept", "optimizer.lr=1e30,1e-3,1e38", code=1)
    (sweep,) = (place / "outputs" / "swept").iterdir()
    return sweep, done


def test_each_point_of_a_sweep_is_a_run_and_failures_are_marked(swept):
    sweep, _ = swept
    points = [one for number in range(3) for one in sessions(sweep / str(number))]
    in_training, went_well, refused = points
    assert len({point.run.run_id for point in points}) == 3
    (group,) = {point.run.run_group for point in points}
    assert group.startswith(f"{sweep.name}-")
    assert [point.run.display_name for point in points] == ["swept lr=1e+30", "swept lr=0.001", "swept lr=1e+38"]
    assert [point.exit_code for point in points] == [1, 0, 1]
    assert "became infinite" in in_training.summary["error"]
    assert "optimizer: " in refused.summary["error"]
    assert [point.config["optimizer"]["lr"] for point in points] == [1e30, 1e-3, 1e38]
    assert "optimizer.lr=0.001" in went_well.config["overrides"]
    assert went_well.config["choices"]["logger"] == "wandb"
    assert went_well.order == [0, 1, 2, 3, 4]
    assert not refused.order


def test_no_secret_is_in_any_file_or_on_the_terminal(swept):
    sweep, done = swept
    files = [path for path in sweep.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_two_processes_of_a_run_make_one_run(place):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    train(place, *two, "name=ddp", "data.batch_size=1")
    (run,) = (place / "outputs" / "ddp").iterdir()
    (found,) = sessions(run)
    assert (found.order, found.exit_code) == ([0, 1, 2, 3, 4], 0)
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
