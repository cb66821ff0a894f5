"""Two toys in one run of the toybox as it ships: each word learns its own toy."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
STEPS = 60

pytestmark = pytest.mark.slow


def train(outputs: Path, experiment: str, *overrides: str) -> Path:
    """The folder of a shortened run."""
    common = ["trainer=cpu", f"trainer.max_steps={STEPS}", "trainer.val_check_interval=10", "~callbacks.samples"]
    argv = [sys.executable, str(ROOT / "train.py"), f"+experiment={experiment}", f"paths.outputs={outputs}"]
    done = subprocess.run([*argv, *common, *overrides], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    (folder,) = (outputs / experiment).iterdir()
    return folder


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def both(outputs):
    return train(outputs, "two_toys")


def column(run: Path, name: str) -> list[float]:
    return [float(line[name]) for line in csv.DictReader((run / "metrics.csv").open()) if line.get(name)]


@pytest.mark.parametrize("name", ["cat-toy", "robot-toy"])
def test_both_words_lower_the_loss_of_their_own_pictures(both, name):
    losses = column(both, f"val/loss/{name}")
    assert losses[-1] < 0.97 * losses[0]
    assert json.loads((both / "run.json").read_text())["result"]["vitals"][f"cosine_to_start/{name}"] < 0.9


def test_the_robot_is_the_one_that_is_learned_alone_to_the_last_bit(both, outputs):
    alone = train(outputs, "robot")
    rows = load_file(alone / "learned_embeds.safetensors")["<robot-toy>"]
    ours = load_file(both / "concepts" / "robot-toy" / "learned_embeds.safetensors")["<robot-toy>"]
    assert rows.equal(ours)
    assert column(both, "val/loss/robot-toy") == column(alone, "val/loss")
