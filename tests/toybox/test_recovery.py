"""Recovery is one for renders of the concept and zero for the initializer; equal words have equal losses."""

from functools import partial

import numpy as np
import pytest
import torch

from tinv.toybox.captions import SCENE_PHRASES
from tinv.toybox.clip_features import ToyboxClip, area_under_curve
from tinv.toybox.concepts import ALL_CONCEPTS, get_concept
from tinv.toybox.recovery import (
    CLASS_WORDS,
    edit_alignment,
    encode_renders,
    find_concept_name,
    held_out_denoising,
    recovery,
    render_in_scene,
    scene_caption,
    scene_prompt,
    similarity_to_renders,
)
from tinv.toybox.sampling import denoising_losses, load_pipeline

SCENE_OF = {phrases[0]: scene for scene, phrases in SCENE_PHRASES.items()}


def draw_renders(name, prompts, seed, *, others=False):
    """Returns perfect samples: renders of the concept (or of similar toys) in the scene of the prompt."""
    scene = next(scene for phrase, scene in SCENE_OF.items() if phrase in prompts[0])
    return render_in_scene(name, scene, len(prompts), seed=seed + 100, others=others)


@pytest.mark.parametrize("name", ["cat_toy", pytest.param("sepia", marks=pytest.mark.slow)])
def test_recovery_is_one_for_the_concept_and_less_for_similar_toys(name, monkeypatch):
    monkeypatch.setattr("tinv.toybox.recovery.RENDERS", 8)
    clip = ToyboxClip()
    target = encode_renders(name, clip)
    ask = partial(scene_prompt, name, "x")
    perfect = similarity_to_renders(target, ask, partial(draw_renders, name), clip)
    others = similarity_to_renders(target, ask, partial(draw_renders, name, others=True), clip)
    assert perfect == pytest.approx(target.ceiling, abs=0.03)
    assert others < target.ceiling - 0.08
    assert recovery(perfect, others, target.ceiling) == pytest.approx(1, abs=0.2)
    assert recovery(others, others, target.ceiling) == 0


def test_equal_captions_have_equal_losses():
    """Fixed draws: the losses of equal captions are equal to the last bit."""
    pipeline = load_pipeline()
    losses = partial(denoising_losses, pipeline)
    images = render_in_scene("car", "beach", 3, seed=0)
    once, twice = (losses(images, ["a photo of a car"] * 3) for _ in range(2))
    assert torch.equal(once, twice)
    assert not torch.equal(once, losses(images, ["a photo of a star at night"] * 3))
    fall = held_out_denoising("car", "car", "car", lambda images, captions: losses(images[:4], captions[:4])).fall
    assert fall == 0


def test_edit_alignment_depends_on_the_samples_and_not_on_the_token():
    """Robots on the beach match "a robot on the beach", whatever the prompt was; teapots do not."""
    clip = ToyboxClip()
    scores = {}
    for name in ("robot", "teapot"):
        images = render_in_scene(name, "beach", 8, seed=1, others=True)
        scores[name] = edit_alignment("robot", "<robot>", lambda prompts, seed, drawn=images: drawn, clip)
    edit = "a {} on the beach"
    assert scores["robot"][edit] > scores["teapot"][edit] + 0.2


def test_prompts_and_captions_of_objects_and_styles():
    assert scene_prompt("car", "<car>", "beach") == "a photo of a <car> on the beach"
    assert scene_prompt("sepia", "<ink>", "grass") == "a car on the grass in the style of <ink>"
    assert scene_caption("a drawing of a {subject} {scene}", "table") == "a drawing of a mug on a wooden table"


@pytest.mark.parametrize("spelling", ["<{}>", "<{}-toy>", "{}"])
def test_a_concept_is_found_by_its_placeholder_token(spelling):
    for each in ALL_CONCEPTS:
        if each.name != "cat_toy":
            assert find_concept_name(spelling.format(each.name)) == each.name
    assert find_concept_name("<cat-toy>") == "cat_toy"
    assert set(CLASS_WORDS) == {each.name for each in ALL_CONCEPTS}
    with pytest.raises(ValueError, match="no concept"):
        get_concept("dog")


def test_area_under_curve_of_known_scores():
    assert area_under_curve(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert area_under_curve(torch.tensor([0.0]), torch.tensor([0.0])) == 0.5
    assert np.isclose(area_under_curve(torch.tensor([0.0, 2.0]), torch.tensor([1.0])), 0.5)
