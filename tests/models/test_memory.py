"""The presets of conf/memory."""

import json
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from tinv.config.validate import CONF_DIR
from tinv.training.run import train

PRESETS = ["8gb", "12gb", "24gb"]
MODELS = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
REQUIRED = ["concept.placeholder_token=my-cat", "concept.initializer_token=toy", "data.folder=images"]


@pytest.mark.parametrize("model", MODELS)
def test_every_preset_keeps_the_model_and_the_effective_batch(compose, model):
    settings = [f"model={model}", *REQUIRED, *(["model.pretrained=folder"] if model == "local" else [])]
    plain = compose(*settings)
    for preset in PRESETS:
        small = compose(*settings, f"memory={preset}")
        batches = [cfg.data.batch_size * cfg.trainer.accumulate_grad_batches for cfg in (small, plain)]
        assert batches[0] == batches[1]
        assert small.model.dtype == "bfloat16"
        assert (small.model.pretrained, small.concept) == (plain.model.pretrained, plain.concept)


def test_a_smaller_preset_computes_no_more_at_once(compose):
    presets = [compose(*REQUIRED, f"memory={preset}") for preset in PRESETS]
    at_once = [(c.data.batch_size, c.callbacks.samples.batch_size, not c.model.gradient_checkpointing) for c in presets]
    assert at_once == sorted(at_once)
    assert all(a <= b for smaller, larger in pairwise(at_once) for a, b in zip(smaller, larger, strict=True))


def test_memory_overrides_other_groups_and_experiments_and_the_command_line_overrides_memory(compose):
    small = ["+experiment=cat_toy", "memory=8gb"]
    assert compose(*small).data.batch_size == 1  # data=toybox_cat_toy has 8
    assert compose(*small, "+debug=fast").data.batch_size == 2
    assert compose(*small, "data.batch_size=3").data.batch_size == 3
    assert compose(*small, "trainer=gpu").trainer.precision == "32-true"
    assert compose(*small, "callbacks=none").callbacks == {}


def test_a_run_with_the_smallest_preset_learns_float32_vectors(compose_local, pipeline_folder, tmp_path):
    train(compose_local(pipeline_folder, "memory=8gb", 'callbacks.samples.prompts=["a {}"]'))
    vectors = load_file(tmp_path / "learned_embeds.safetensors")["<cat-toy>"]
    assert vectors.dtype == torch.float32 and vectors.isfinite().all()
    assert not torch.equal(vectors, vectors.bfloat16().float())
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "finished"
