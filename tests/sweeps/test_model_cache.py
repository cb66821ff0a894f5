"""The points of a sweep share the frozen model, with the same results as single runs."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.sweeps.outputs import column
from tests.sweeps.tiny_runs import TINY, write_tiny
from tests.tiny import tiny_model
from tinv import models
from tinv.sweeps import model_cache
from tinv.training.main import main

SETTINGS = [
    *["+debug=fast", *TINY, "trainer=cpu", "callbacks=none", "+callbacks.export.dir=${paths.output_dir}"],
    "+callbacks.export._target_=tinv.training.callbacks.Export",
    "+callbacks.nonfinite._target_=tinv.training.callbacks.StopOnNonFinite",
]


@pytest.fixture
def count_loads(monkeypatch, tmp_path):
    """count_loads("-m", "seed=1,2") runs train.py and returns how often it loaded a model."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    loads, load = [], models.load
    monkeypatch.setattr(models, "load", lambda **settings: loads.append(settings) or load(**settings))

    def run(*argv):
        loads.clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *SETTINGS, *argv])
        with suppress(SystemExit):
            main()
        return len(loads)

    return run


def learned_vectors(folder: Path) -> torch.Tensor:
    return load_file(folder / "learned_embeds.safetensors")["my-cat"]


@pytest.mark.slow
def test_points_share_a_model_and_learn_the_same_as_single_runs(count_loads, tmp_path):
    assert count_loads("-m", "name=together", "seed=1,2,3") == 1
    (together,) = (tmp_path / "outputs" / "together").iterdir()
    for number, seed in enumerate((1, 2, 3)):
        assert count_loads(f"name=alone{seed}", f"seed={seed}") == 1
        (alone,) = (tmp_path / "outputs" / f"alone{seed}").iterdir()
        assert torch.equal(learned_vectors(together / str(number)), learned_vectors(alone))
        assert (together / str(number) / "metrics.csv").read_text() == (alone / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_failed_point_does_not_affect_the_next(count_loads, tmp_path):
    assert count_loads("-m", "name=together", "optimizer.lr=1e-3,1e30,2e-3") == 2, (
        "the failed point does not return its model"
    )
    (together,) = (tmp_path / "outputs" / "together").iterdir()
    assert column(together, "status") == ["done", "failed", "done"]
    count_loads("name=alone", "optimizer.lr=2e-3")
    (alone,) = (tmp_path / "outputs" / "alone").iterdir()
    assert torch.equal(learned_vectors(together / "2"), learned_vectors(alone))


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "model")


def test_outside_of_a_sweep_no_model_is_kept(model):
    other = object()
    assert model_cache.get("settings", lambda: model) is model
    model_cache.put(model)
    assert model_cache.get("settings", lambda: other) is other


def add_one(tensor):
    with torch.no_grad():
        tensor.add_(1)


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        (lambda model: model.to("cpu"), True),
        (lambda model: model.encode_images(torch.zeros(1, 3, 32, 32)), True),
        (lambda model: model.unet.half(), False),
        (lambda model: model.vae.to(torch.float64), False),
        (lambda model: model.unet.requires_grad_(True), False),
        (lambda model: model.text_encoder.train(), False),
        (lambda model: add_one(next(model.unet.parameters())), False),
        (lambda model: add_one(next(model.vae.parameters())), False),
    ],
)
def test_a_changed_model_is_not_kept(model, change, is_kept):
    fresh = object()
    with model_cache.keep_model():
        change(model_cache.get("settings", lambda: model))
        model_cache.put(model)
        with suppress(AttributeError):  # object() has no modules
            fresh = model_cache.get("settings", object)
        assert (fresh is model) == is_kept


def test_a_model_is_given_to_one_run_at_a_time_with_the_same_settings(model, tmp_path):
    other = tiny_model(tmp_path / "other")
    with model_cache.keep_model():
        assert model_cache.get("settings", lambda: model) is model
        assert model_cache.get("settings", lambda: other) is other, "the first has not been put back"
        model_cache.put(other)
        assert model_cache.get("other settings", lambda: model) is model
