"""`+experiment=cat_toy` as it ships learns its toy and nothing else.

One seed of those in the README's table, whose means are better than these thresholds. On another processor, other last
bits make one seed as good as another.
"""

import json
import subprocess
import sys
from statistics import mean

import pytest

from tests.conftest import ROOT
from tinv.toybox import concept_images
from tinv.toybox.clip_features import ToyboxClip
from tinv.toybox.recovery import baseline, find_concept_name, report
from tinv.toybox.sampling import load_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run folder of `python train.py +experiment=cat_toy seed=0`."""
    outputs = tmp_path_factory.mktemp("outputs")
    argv = [sys.executable, str(ROOT / "train.py"), "+experiment=cat_toy", "seed=0", f"paths.root_dir={outputs}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (folder,) = (outputs / "cat_toy").iterdir()
    return folder


@pytest.fixture(scope="module")
def measured(run):
    """The measures of docs/toybox.md, with the embedding loaded by diffusers."""
    pipeline, extractor = load_pipeline(), ToyboxClip()
    token = (run / "token_identifier.txt").read_text().strip()
    initializer = json.loads((run / "run.json").read_text())["concept"]["initializer_token"]
    before = baseline(pipeline, find_concept_name(token), initializer, extractor)
    pipeline.load_textual_inversion(run / "learned_embeds.safetensors")
    return report(pipeline, token, before, extractor)


def test_feature_extractor_recognizes_the_concept(measured):
    assert measured.area_under_curve >= 0.95


def test_recovery_is_at_least_one_half(measured):
    assert measured.recovery >= 0.5


def test_learned_token_is_as_good_as_the_best_caption(measured):
    """The standard deviation over seeds is 0.02, and over processors with one seed too."""
    assert measured.learned > measured.caption - 0.05


def test_held_out_views_are_denoised_better_and_other_toys_are_not(measured):
    assert measured.denoising_sigmas >= 5
    assert measured.denoising_sigmas_of_others < 5


def test_prompts_can_edit_the_concept(measured):
    assert all(share >= 0.8 for share in measured.editability.values()), measured.editability
    assert mean(measured.editability.values()) >= 0.9


def test_training_images_come_with_the_package():
    assert len(concept_images("cat_toy")) == 5
