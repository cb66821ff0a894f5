"""The formulas give the numbers of their definitions, computed by hand and by NumPy."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tinv.evaluation.metrics.scores import (
    copy_rate,
    diversity,
    geometric_mean,
    image_similarity,
    mean_nearest_cosine,
    mean_pairwise_cosine,
    text_alignment,
)

SAMPLES = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
REFERENCES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
CAPTIONS = torch.tensor([[0.8, 0.6, 0.0], [0.0, 1.0, 0.0]])
"""Of unit length. All cosines: samples and references 1, 0, 0 / .6, .8, .48; samples and captions .8, .8."""


def features(count: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_scores_of_known_features():
    assert image_similarity(SAMPLES, REFERENCES) == pytest.approx((1 + 0 + 0 + 0.6 + 0.8 + 0.48) / 6)
    assert text_alignment(SAMPLES, CAPTIONS) == pytest.approx((0.8 + 0.8) / 2)
    assert diversity(SAMPLES) == pytest.approx(1 - 0.6)
    assert mean_pairwise_cosine(REFERENCES) == pytest.approx((0 + 0 + 0.6) / 3)
    assert mean_nearest_cosine(SAMPLES, REFERENCES) == pytest.approx((1 + 0.8) / 2)
    assert copy_rate(SAMPLES, REFERENCES) == 1.0  # both have a cosine above .6 to a reference
    assert copy_rate(SAMPLES, torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.0, 0.6]])) == 0.5  # the first does
    assert geometric_mean(0.81, 0.25) == pytest.approx(0.45)


def test_scores_equal_the_published_formulas_in_numpy():
    samples, references, captions = features(7, 0), features(5, 1), features(7, 2)
    s, r, t = (np.asarray(x, np.float64) for x in (samples, references, captions))
    cosines = np.array([[np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for b in r] for a in s])
    assert image_similarity(samples, references) == pytest.approx(cosines.sum() / 35, abs=1e-6)
    assert mean_nearest_cosine(samples, references) == pytest.approx(np.mean([row.max() for row in cosines]), abs=1e-6)
    assert text_alignment(samples, captions) == pytest.approx(
        np.mean([a @ b for a, b in zip(s, t, strict=True)]), abs=1e-6
    )
    pairs = [1 - s[i] @ s[j] for i in range(7) for j in range(i)]
    assert diversity(samples) == pytest.approx(np.mean(pairs), abs=1e-6)


def test_the_mean_of_cosines_is_not_the_cosine_of_the_mean():
    """Gal et al.'s code and paper differ: by the length of the mean sample."""
    samples, caption = features(9, 3), features(1, 4)
    middle = samples.mean(0)
    of_the_mean = float(normalize(middle, dim=0) @ caption[0])
    assert text_alignment(samples, caption.expand_as(samples)) == pytest.approx(
        of_the_mean * float(middle.norm()), abs=1e-6
    )
    assert float(middle.norm()) < 0.9


def test_samples_that_equal_their_references_are_copies_and_a_single_sample_has_no_diversity():
    references = features(4, 5)
    assert mean_nearest_cosine(references, references) == pytest.approx(1)
    assert copy_rate(references, references) == 1.0
    assert image_similarity(references[:1], references[:1]) == pytest.approx(1)
    assert diversity(references[:1]) is None
    assert copy_rate(references, references[:1]) is None


def test_one_percent_of_either_score_counts_the_same():
    assert geometric_mean(0.8 * 1.01, 0.25) == pytest.approx(geometric_mean(0.8, 0.25 * 1.01))
    assert geometric_mean(0.8, -0.1) == 0.0
    assert not math.isnan(geometric_mean(-0.2, -0.1))
