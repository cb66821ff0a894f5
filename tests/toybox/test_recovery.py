"""The measures measure: the concept itself scores one, the initializer zero, and the same word twice no difference."""

from functools import partial

import numpy as np
import pytest
import torch

from tinv.toybox.captions import PLACES
from tinv.toybox.clip_features import FeatureExtractor, area_under_curve
from tinv.toybox.concepts import ALL, concept
from tinv.toybox.recovery import (
    CLASS_WORDS,
    caption_on,
    concept_of,
    fidelity,
    held_out_denoising,
    look_at,
    obedience,
    prompt_on,
    recovery,
    renders_on,
)
from tinv.toybox.sampling import denoising_losses, load_pipeline

SCENE_OF = {places[0]: scene for scene, places in PLACES.items()}


def draw_renders(name, prompts, seed, *, others=False):
    """A perfect generator: it answers a prompt with renders of the concept (or of others like it) where it says."""
    scene = next(scene for place, scene in SCENE_OF.items() if place in prompts[0])
    return renders_on(name, scene, len(prompts), seed=seed + 100, others=others)


@pytest.mark.parametrize("name", ["cat_toy", pytest.param("sepia", marks=pytest.mark.slow)])
def test_recovery_is_one_for_the_concept_and_less_for_its_like(name, monkeypatch):
    monkeypatch.setattr("tinv.toybox.recovery.RENDERS", 8)
    tower = FeatureExtractor()
    target = look_at(name, tower)
    ask = partial(prompt_on, name, "x")
    perfect = fidelity(target, ask, partial(draw_renders, name), tower)
    others = fidelity(target, ask, partial(draw_renders, name, others=True), tower)
    assert perfect == pytest.approx(target.ceiling, abs=0.03)
    assert others < target.ceiling - 0.08
    assert recovery(perfect, others, target.ceiling) == pytest.approx(1, abs=0.2)
    assert recovery(others, others, target.ceiling) == 0


def test_the_same_word_twice_makes_no_difference():
    """Fixed draws: the losses of equal captions are equal to the last bit."""
    pipeline = load_pipeline()
    losses = partial(denoising_losses, pipeline)
    images = renders_on("car", "beach", 3, seed=0)
    once, twice = (losses(images, ["a photo of a car"] * 3) for _ in range(2))
    assert torch.equal(once, twice)
    assert not torch.equal(once, losses(images, ["a photo of a star at night"] * 3))
    fall = held_out_denoising("car", "car", "car", lambda pictures, captions: losses(pictures[:4], captions[:4])).fall
    assert fall == 0


def test_obedience_follows_the_picture_and_not_the_word():
    """Robots on the beach obey "a robot on the beach", whatever they were asked for by; teapots do not."""
    tower = FeatureExtractor()
    scores = {}
    for name in ("robot", "teapot"):
        pictures = renders_on(name, "beach", 8, seed=1, others=True)
        scores[name] = obedience("robot", "<robot>", lambda prompts, seed, shown=pictures: shown, tower)
    edit = "a {} on the beach"
    assert scores["robot"][edit] > scores["teapot"][edit] + 0.2


def test_prompts_and_captions_of_objects_and_styles():
    assert prompt_on("car", "<car>", "beach") == "a photo of a <car> on the beach"
    assert prompt_on("sepia", "<ink>", "grass") == "a car on the grass in the style of <ink>"
    assert caption_on("a drawing of a {subject} {place}", "table") == "a drawing of a mug on a wooden table"


@pytest.mark.parametrize("spelling", ["<{}>", "<{}-toy>", "{}"])
def test_a_concept_is_found_by_its_placeholder(spelling):
    for each in ALL:
        if each.name != "cat_toy":
            assert concept_of(spelling.format(each.name)) == each.name
    assert concept_of("<cat-toy>") == "cat_toy"
    assert set(CLASS_WORDS) == {each.name for each in ALL}
    with pytest.raises(ValueError, match="no concept"):
        concept("dog")


def test_area_under_curve_of_known_scores():
    assert area_under_curve(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert area_under_curve(torch.tensor([0.0]), torch.tensor([0.0])) == 0.5
    assert np.isclose(area_under_curve(torch.tensor([0.0, 2.0]), torch.tensor([1.0])), 0.5)
