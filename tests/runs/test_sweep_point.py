"""A run finds its sweep from the files around its folder."""

import json

import pytest

from tests.training.loggers.conftest import point  # noqa: F401
from tinv.runs.sweep_point import find_sweep_point


@pytest.mark.parametrize(
    ("swept", "label"),
    [
        ({"embedding.num_vectors": "2", "optimizer.lr": "1e-3"}, "num_vectors=2 lr=1e-3"),
        ({"data.repeats": "2", "val.repeats": "3"}, "data.repeats=2 val.repeats=3"),
        ({"seed": "1"}, "seed=1"),
        ({}, ""),
    ],
)
def test_a_point_is_labeled_with_the_swept_settings(point, swept, label):  # noqa: F811
    ref = find_sweep_point(point(swept, number=3))
    assert (ref.label, ref.sweep) == (label, "2026-11-22_20-00-00-0123456789ab")


def test_a_run_outside_of_a_sweep_is_no_point(point, tmp_path):  # noqa: F811
    (run := tmp_path / "alone").mkdir()
    assert find_sweep_point(run) is None
    (other := point({"seed": "1"}).parent / "7").mkdir()
    assert find_sweep_point(other) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"points": None}), json.dumps({"points": [{}]})])
def test_a_point_of_a_damaged_sweep_is_no_point(point, damage):  # noqa: F811
    run = point({"seed": "1"})
    (run.parent / "sweep.json").write_text(damage)
    assert find_sweep_point(run) is None
