"""A run knows which point of which sweep it is, however it was started."""

import json

import pytest

from tests.training.loggers.conftest import point  # noqa: F401
from tinv.runs.sweep_point import find_sweep_point


@pytest.mark.parametrize(
    ("swept", "label"),
    [
        ({"embedding.num_vectors": "2", "optimizer.lr": "1e-3"}, "num_vectors=2 lr=1e-3"),
        (
            {"callbacks.samples.every_n_steps": "2", "callbacks.export.every_n_steps": "3"},
            "callbacks.samples.every_n_steps=2 callbacks.export.every_n_steps=3",
        ),
        ({"seed": "1"}, "seed=1"),
        ({}, ""),
    ],
)
def test_a_point_is_called_by_what_was_swept(point, swept, label):  # noqa: F811
    place = find_sweep_point(point(swept, number=3))
    assert (place.label, place.sweep) == (label, "2026-11-22_20-00-00-0123456789ab")


def test_a_run_that_is_no_point_has_no_place(point, tmp_path):  # noqa: F811
    (run := tmp_path / "alone").mkdir()
    assert find_sweep_point(run) is None
    beside = point({"seed": "1"}).parent / "7"
    beside.mkdir()
    assert find_sweep_point(beside) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"points": None}), json.dumps({"points": [{}]})])
def test_a_sweep_that_cannot_be_read_does_not_stop_its_points(point, damage):  # noqa: F811
    run = point({"seed": "1"})
    (run.parent / "sweep.json").write_text(damage)
    assert find_sweep_point(run) is None
