"""A sweep whose points run one after the other loads the frozen model once, and nobody can tell from the results."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.sweeps.test_grid_sweeper import column
from tests.tiny import tiny_images, tiny_model, tiny_pipeline
from tinv import models
from tinv.sweeps import model_cache
from tinv.training.main import main

TINY = [
    "+debug=fast",
    "model=local",
    "model.pretrained=model",
    "data.folder=pictures",
    "concept.placeholder_token=my-cat",
    "concept.initializer_token=toy",
    "trainer=cpu",
    "callbacks=none",
    "+callbacks.export._target_=tinv.training.callbacks.Export",
    "+callbacks.export.dir=${paths.output_dir}",
    "+callbacks.nonfinite._target_=tinv.training.callbacks.StopOnNonFinite",
]


@pytest.fixture
def go(monkeypatch, tmp_path):
    """go("-m", "seed=1,2") -> how often a model was loaded."""
    tiny_pipeline(tmp_path / "model")
    tiny_images(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    loads, load = [], models.load
    monkeypatch.setattr(models, "load", lambda **settings: loads.append(settings) or load(**settings))

    def walk(*argv):
        loads.clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *argv])
        with suppress(SystemExit):
            main()
        return len(loads)

    return walk


def learned(folder: Path) -> torch.Tensor:
    return load_file(folder / "learned_embeds.safetensors")["my-cat"]


@pytest.mark.slow
def test_points_share_one_model_and_learn_what_they_would_alone(go, tmp_path):
    assert go("-m", "name=together", "seed=1,2,3") == 1
    (together,) = (tmp_path / "outputs" / "together").iterdir()
    for number, seed in enumerate((1, 2, 3)):
        assert go(f"name=alone{seed}", f"seed={seed}") == 1
        (alone,) = (tmp_path / "outputs" / f"alone{seed}").iterdir()
        assert torch.equal(learned(together / str(number)), learned(alone))
        assert (together / str(number) / "metrics.csv").read_text() == (alone / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_point_that_failed_spoils_nothing_for_the_next(go, tmp_path):
    assert go("-m", "name=together", "optimizer.lr=1e-3,1e30,2e-3") == 2, "the one that failed keeps its model"
    (together,) = (tmp_path / "outputs" / "together").iterdir()
    assert column(together, "status") == ["done", "failed", "done"]
    go("name=alone", "optimizer.lr=2e-3")
    (alone,) = (tmp_path / "outputs" / "alone").iterdir()
    assert torch.equal(learned(together / "2"), learned(alone))


# --- the shelf itself -------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "model")


def test_without_a_sweep_nothing_is_kept(model):
    other = object()
    assert model_cache.get("settings", lambda: model) is model
    model_cache.put(model)
    assert model_cache.get("settings", lambda: other) is other


def add_one(tensor):
    with torch.no_grad():
        tensor.add_(1)


@pytest.mark.parametrize(
    ("spoil", "is_kept"),
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
def test_what_a_run_can_do_to_a_model_is_noticed(model, spoil, is_kept):
    fresh = object()
    with model_cache.keep_model():
        spoil(model_cache.get("settings", lambda: model))
        model_cache.put(model)
        with suppress(AttributeError):  # a fresh one would be looked at
            fresh = model_cache.get("settings", object)
        assert (fresh is model) == is_kept


def test_a_model_is_lent_to_one_run_and_for_its_settings_only(model, tmp_path):
    other = tiny_model(tmp_path / "other")
    with model_cache.keep_model():
        assert model_cache.get("settings", lambda: model) is model
        assert model_cache.get("settings", lambda: other) is other, "the first is away"
        model_cache.put(other)
        assert model_cache.get("other settings", lambda: model) is model
