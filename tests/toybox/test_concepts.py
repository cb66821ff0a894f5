"""The images of the concepts are the rendered ones, and the training set has nothing similar."""

import numpy as np
import pytest

from tests.toybox.rendered import is_as_rendered
from tinv.toybox import concept_images
from tinv.toybox.concepts import (
    ALL_CONCEPTS,
    TOYS,
    find_similar_concept,
    random_concept_view,
    random_other_view,
    render_example,
)
from tinv.toybox.pretrain.images import TRAINING_SEEDS
from tinv.toybox.toys import random_toy
from tinv.toybox.views import random_view
from tinv.toybox.world import describe

NAMES = [concept.name for concept in ALL_CONCEPTS]


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_images_are_the_rendered_ones(name):
    paths = concept_images(name)
    assert len(paths) == 5
    for index, path in enumerate(paths):
        assert is_as_rendered(path, render_example(name, index)), path.name


@pytest.mark.parametrize("count", [1500, pytest.param(80_000, marks=pytest.mark.slow)])
def test_no_training_image_resembles_a_concept(count):
    """The slow test checks every training image."""
    descriptions = map(describe, range(TRAINING_SEEDS, TRAINING_SEEDS + count))
    assert all(find_similar_concept(description.toy, description.view) is None for description in descriptions)


@pytest.mark.slow
def test_random_images_resemble_every_concept():
    """So the rejection is necessary."""
    rngs = map(np.random.default_rng, range(12_000))
    assert {find_similar_concept(random_toy(rng), random_view(rng)) for rng in rngs} == {None, *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_view_of_a_concept_resembles_it(name):
    for seed in range(100):
        assert find_similar_concept(*random_concept_view(np.random.default_rng(seed), name)) in {name, "sepia"}
        assert find_similar_concept(*random_other_view(np.random.default_rng(seed), name)) is None


@pytest.mark.parametrize("name", TOYS)
def test_a_concept_is_the_same_toy_in_every_view(name):
    toys = {random_concept_view(np.random.default_rng(seed), name)[0] for seed in range(20)}
    assert toys == {TOYS[name]}


def test_an_unknown_concept_is_refused():
    with pytest.raises(ValueError, match="no concept 'cat'; it has car, cat_toy, robot, sepia, teapot"):
        concept_images("cat")
