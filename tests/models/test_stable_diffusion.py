"""Stable Diffusion 1 and 2, and what all families share."""

import copy

import pytest
import torch

from tests.models.published import published, random_vectors, with_vectors
from tests.tiny import RESOLUTION, tiny_module, tiny_parts, tiny_pipeline
from tinv.models import STABLE_DIFFUSION, LatentDiffusion, load


def test_the_model_is_frozen_and_stays_in_evaluation_mode(model):
    model.train()
    for part in (model, model.vae):
        assert not any(module.training for module in part.modules())
        assert not any(parameter.requires_grad for parameter in part.parameters())


@pytest.mark.filterwarnings("ignore:the caption")
@pytest.mark.parametrize("layout", ["sd1", "sd2"])
def test_text_is_encoded_as_by_the_layouts_pipeline(layout):
    """Also with a learned token; Stable Diffusion 2 pads with `!`."""
    pipeline = published(layout)
    parts = {name: pipeline.components[name] for name in ("tokenizer", "text_encoder", "vae", "unet", "scheduler")}
    ours = LatentDiffusion(STABLE_DIFFUSION, copy.deepcopy(parts), name="tiny")
    prompts = ["a photo of a red cat!", "", "painting " * 80]
    assert torch.equal(ours.encode_text(prompts, {}).hidden, pipeline.encode_prompt(prompts, "cpu", 1, False)[0])
    vectors, prompt = random_vectors(layout), "a photo of a <cat-toy> on the beach"
    expected = with_vectors(pipeline, vectors).encode_prompt(prompt, "cpu", 1, False)[0]
    assert torch.equal(ours.encode_text([prompt], {"<cat-toy>": vectors}).hidden, expected)


def test_latents_are_scaled_as_the_unet_expects(model):
    moments = model.encode_images(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
    mean = moments.chunk(2, dim=1)[0]
    latents = model.sample_latents(moments, torch.zeros_like(mean))
    torch.testing.assert_close(latents, mean * model.vae.config.scaling_factor)


def test_the_fingerprint_depends_on_the_model_and_not_on_the_precision(pipeline_folder, tmp_path):
    fingerprint = load(str(pipeline_folder)).fingerprint
    assert load(str(pipeline_folder), dtype="bfloat16").fingerprint == fingerprint
    other = load(str(tiny_pipeline(tmp_path / "v", prediction_type="v_prediction")))
    assert other.fingerprint != fingerprint
    assert other.noise_process.prediction_type == "v_prediction"
    changed = tiny_parts()
    changed["unet"].conv_in.weight.data.add_(0.1)
    assert LatentDiffusion(STABLE_DIFFUSION, changed, name="changed").fingerprint != fingerprint


def test_two_runs_can_share_one_model(model):
    first, second = tiny_module(model), tiny_module(model, num_vectors=2, init="random")
    assert first.model is second.model
    vectors = [module.export_vectors() for module in (first, second, first)]
    hidden = [model.encode_text(["a <cat-toy>"], each).hidden for each in vectors]
    assert not torch.equal(hidden[0], hidden[1])
    assert torch.equal(hidden[0], hidden[2])
