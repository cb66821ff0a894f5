"""Two toys in one run of the toybox as it ships: each word learns its own toy."""

import csv
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tinv.runs.layout import concept_dirs
from tinv.toybox.recovery import held_out_denoising
from tinv.toybox.sampling import denoising_losses, load_pipeline

ROOT = Path(__file__).resolve().parents[2]
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
def both(outputs):
    return train(outputs, "two_toys")


def column(run: Path, name: str) -> list[float]:
    return [float(line[name]) for line in csv.DictReader((run / "metrics.csv").open()) if line.get(name)]


@pytest.fixture(scope="module")
def losses(both):
    """The fixed-draw loss of pictures and captions, on a pipeline that knows both words."""
    pipeline = load_pipeline()
    for folder in concept_dirs(both):
        pipeline.load_textual_inversion(folder / "learned_embeds.safetensors")
    return partial(denoising_losses, pipeline)


@pytest.mark.parametrize(
    ("name", "initializer_token", "word", "other"),
    [("cat_toy", "toy", "<cat-toy>", "<robot-toy>"), ("robot", "robot", "<robot-toy>", "<cat-toy>")],
)
def test_each_word_explains_unseen_views_of_its_own_toy_and_not_of_the_other(
    losses, name, initializer_token, word, other
):
    assert held_out_denoising(name, word, initializer_token, losses).sigmas >= 5
    assert held_out_denoising(name, other, initializer_token, losses).sigmas < 5


def test_the_robot_is_the_one_that_is_learned_alone_to_the_last_bit(both, outputs):
    alone = train(outputs, "robot")
    rows = load_file(alone / "learned_embeds.safetensors")["<robot-toy>"]
    ours = load_file(both / "concepts" / "robot-toy" / "learned_embeds.safetensors")["<robot-toy>"]
    assert rows.equal(ours)
    assert column(both, "val/loss/robot-toy") == column(alone, "val/loss")
