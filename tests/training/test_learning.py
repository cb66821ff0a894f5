"""Does it learn? The experiment as it ships, measured: the word must mean the toy, and nothing else must suffer.

One seed of those in the README's table, where the means are better than what is asked here. What a seed comes to is a
matter of its processor, too: with other last bits it is as good as another seed.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from tinv.toybox import concept_images
from tinv.toybox.clip_features import FeatureExtractor
from tinv.toybox.recovery import baseline, concept_of, report
from tinv.toybox.sampling import load_pipeline

ROOT = Path(__file__).resolve().parents[2]

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
    """What has been learned, by the measures of docs/toybox.md, through diffusers' own loader."""
    pipeline, tower = load_pipeline(), FeatureExtractor()
    word = (run / "token_identifier.txt").read_text().strip()
    initializer = json.loads((run / "run.json").read_text())["concept"]["initializer_token"]
    before = baseline(pipeline, concept_of(word), initializer, tower)
    pipeline.load_textual_inversion(run / "learned_embeds.safetensors")
    return report(pipeline, word, before, tower)


def test_the_tower_that_judges_knows_the_concept(measured):
    assert measured.area_under_curve >= 0.95


def test_half_of_the_way_from_the_initializer_to_the_concept_is_recovered(measured):
    assert measured.recovery >= 0.5


def test_the_word_says_as_much_as_the_best_caption(measured):
    """Seeds differ by 0.02, as standard deviation; so does one seed with another processor's last bits."""
    assert measured.learned > measured.caption - 0.05


def test_unseen_views_are_denoised_better_and_other_toys_are_not(measured):
    assert measured.denoising_sigmas >= 5
    assert measured.denoising_sigmas_of_others < 5


def test_the_word_can_be_edited(measured):
    assert all(share >= 0.8 for share in measured.editability.values()), measured.editability
    assert mean(measured.editability.values()) >= 0.9


def test_the_training_pictures_come_with_the_package():
    assert len(concept_images("cat_toy")) == 5
