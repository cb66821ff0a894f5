"""Claims: brief captions that can be held against every picture."""

import numpy as np
import pytest
import torch

from tinv.toybox.pretrain.claims import NAMELESS, UNSAID, as_tensor, claim_about, facts, truth
from tinv.toybox.pretrain.clip_image_encoder import as_generated
from tinv.toybox.toys import KINDS
from tinv.toybox.world import describe

SEEDS = range(50, 350)


@pytest.fixture(scope="module")
def known() -> torch.Tensor:
    return as_tensor([facts(describe(seed)) for seed in SEEDS])


@pytest.fixture(scope="module")
def claims(known):
    return [claim_about(np.random.default_rng(index), own) for index, own in enumerate(known.tolist())]


def test_a_claim_is_true_of_the_picture_it_was_made_about(known, claims):
    true, told = truth(as_tensor([claim.said for claim in claims]), known)
    assert true.diagonal().all()
    assert told.diagonal().all()


def test_a_claim_says_what_it_is_held_to(claims):
    """A caption that names no colour is true of any colour, and one that names a place is of no other place."""
    coloured = [claim for claim in claims if claim.said[1] != UNSAID]
    kinds = [claim for claim in claims if claim.said[0] != UNSAID]
    assert 0.2 < len(coloured) / len(claims) < 0.6
    for claim in kinds:
        assert KINDS[claim.said[0]] in claim.caption
    assert all("background" in claim.caption for claim in claims if claim.said[2] >= 6)


def test_truth_by_hand():
    known = as_tensor([(0, 1, 2, 0), (0, NAMELESS, 2, 0), (3, 1, 2, 1)])
    anything_there, red_one = (UNSAID, UNSAID, 2, UNSAID), (0, 1, UNSAID, UNSAID)
    true, told = truth(as_tensor([anything_there, red_one]), known)
    assert true.tolist() == [[True, True, True], [True, False, False]]
    assert told.tolist() == [[True, True, True], [True, False, True]]


def test_a_hue_between_the_names_is_never_claimed(known, claims):
    nameless = [claim for claim, own in zip(claims, known.tolist(), strict=True) if own[1] == NAMELESS]
    assert nameless
    assert all(claim.said[1] == UNSAID for claim in nameless)


def test_pictures_as_generated_keep_their_range_and_are_drawn_from_the_generator():
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    once, again = (as_generated(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == images.shape
    assert not torch.equal(once, images)
    assert once.abs().max() < 1.5
