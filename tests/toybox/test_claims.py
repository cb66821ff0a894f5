"""Claims are short captions that can be compared with every image."""

import numpy as np
import pytest
import torch

from tinv.toybox.pretrain.claims import (
    UNNAMED_COLOR,
    UNSPECIFIED,
    as_tensor,
    encode_attributes,
    match_claims,
    random_claim,
)
from tinv.toybox.pretrain.clip_image_encoder import degrade
from tinv.toybox.toys import KINDS
from tinv.toybox.world import describe

SEEDS = range(50, 350)


@pytest.fixture(scope="module")
def image_attributes() -> torch.Tensor:
    return as_tensor([encode_attributes(describe(seed)) for seed in SEEDS])


@pytest.fixture(scope="module")
def claims(image_attributes):
    return [random_claim(np.random.default_rng(index), own) for index, own in enumerate(image_attributes.tolist())]


def test_a_claim_is_true_of_its_own_image(image_attributes, claims):
    true, is_decidable = match_claims(as_tensor([claim.attributes for claim in claims]), image_attributes)
    assert true.diagonal().all()
    assert is_decidable.diagonal().all()


def test_a_claim_mentions_its_attributes(claims):
    """The caption names the kind and the location of its attributes."""
    colored = [claim for claim in claims if claim.attributes[1] != UNSPECIFIED]
    kinds = [claim for claim in claims if claim.attributes[0] != UNSPECIFIED]
    assert 0.2 < len(colored) / len(claims) < 0.6
    for claim in kinds:
        assert KINDS[claim.attributes[0]] in claim.caption
    assert all("background" in claim.caption for claim in claims if claim.attributes[2] >= 6)


def test_matches_of_known_attributes():
    image_attributes = as_tensor([(0, 1, 2, 0), (0, UNNAMED_COLOR, 2, 0), (3, 1, 2, 1)])
    anything_there, red_one = (UNSPECIFIED, UNSPECIFIED, 2, UNSPECIFIED), (0, 1, UNSPECIFIED, UNSPECIFIED)
    true, is_decidable = match_claims(as_tensor([anything_there, red_one]), image_attributes)
    assert true.tolist() == [[True, True, True], [True, False, False]]
    assert is_decidable.tolist() == [[True, True, True], [True, False, True]]


def test_a_hue_without_a_name_is_never_claimed(image_attributes, claims):
    nameless = [claim for claim, own in zip(claims, image_attributes.tolist(), strict=True) if own[1] == UNNAMED_COLOR]
    assert nameless
    assert all(claim.attributes[1] == UNSPECIFIED for claim in nameless)


def test_degraded_images_keep_their_range_and_depend_only_on_the_generator():
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    once, again = (degrade(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == images.shape
    assert not torch.equal(once, images)
    assert once.abs().max() < 1.5
