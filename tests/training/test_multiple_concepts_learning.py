"""`+experiment=two_toys` learns both toys."""

import csv
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT
from tinv.runs.layout import concept_dirs
from tinv.toybox.recovery import held_out_denoising
from tinv.toybox.sampling import denoising_losses, load_pipeline

STEPS = 60

pytestmark = pytest.mark.slow


def train(outputs: Path, experiment: str, *overrides: str) -> Path:
    """The folder of a shortened run."""
    common = ["trainer=cpu", f"trainer.max_steps={STEPS}", "trainer.val_check_interval=10", "~callbacks.samples"]
    argv = [sys.executable, str(ROOT / "train.py"), f"+experiment={experiment}", f"paths.root_dir={outputs}"]
    done = subprocess.run([*argv, *common, *overrides], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    (folder,) = (outputs / experiment).iterdir()
    return folder


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def two_toys(outputs):
    return train(outputs, "two_toys")


def column(run: Path, name: str) -> list[float]:
    return [float(line[name]) for line in csv.DictReader((run / "metrics.csv").open()) if line.get(name)]


@pytest.fixture(scope="module")
def losses(two_toys):
    """The fixed-draw loss of images and captions, on a pipeline with both tokens."""
    pipeline = load_pipeline()
    for folder in concept_dirs(two_toys):
        pipeline.load_textual_inversion(folder / "learned_embeds.safetensors")
    return partial(denoising_losses, pipeline)


@pytest.mark.parametrize(
    ("name", "initializer_token", "token", "other"),
    [("cat_toy", "toy", "<cat-toy>", "<robot-toy>"), ("robot", "robot", "<robot-toy>", "<cat-toy>")],
)
def test_each_token_denoises_held_out_views_of_its_own_toy_alone(losses, name, initializer_token, token, other):
    assert held_out_denoising(name, token, initializer_token, losses).sigmas >= 5
    assert held_out_denoising(name, other, initializer_token, losses).sigmas < 5


def test_the_robot_is_bit_identical_to_one_learned_alone(two_toys, outputs):
    alone = train(outputs, "robot")
    expected = load_file(alone / "learned_embeds.safetensors")["<robot-toy>"]
    learned = load_file(two_toys / "concepts" / "robot-toy" / "learned_embeds.safetensors")["<robot-toy>"]
    assert expected.equal(learned)
    assert column(two_toys, "val/loss/robot-toy") == column(alone, "val/loss")
