"""Stable Diffusion 1 and 2, and what all families share."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.models.published import published
from tests.tiny import RESOLUTION, tiny_module, tiny_parts, tiny_pipeline
from tinv.models import STABLE_DIFFUSION, LatentDiffusion, load


def test_the_model_is_frozen_and_stays_in_evaluation_mode(model):
    model.train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_text_features_are_those_of_the_plain_encoder(model):
    parts = tiny_parts()
    ids = parts["tokenizer"](["a red cat", ""], padding="max_length", return_tensors="pt").input_ids
    expected = parts["text_encoder"].eval()(ids).last_hidden_state
    assert torch.equal(model.encode_text(["a red cat", ""], {}).hidden, expected)


@pytest.mark.filterwarnings("ignore:the caption")
@pytest.mark.parametrize("layout", ["sd1", "sd2"])
def test_text_is_encoded_as_by_the_layouts_pipeline(layout):
    """Also with a learned token; Stable Diffusion 2 pads with `!`."""
    pipeline = copy.deepcopy(published(layout))
    parts = {name: pipeline.components[name] for name in ("tokenizer", "text_encoder", "vae", "unet", "scheduler")}
    ours = LatentDiffusion(STABLE_DIFFUSION, copy.deepcopy(parts), name="tiny")
    prompts = ["a photo of a red cat!", "", "painting " * 80]
    assert torch.equal(ours.encode_text(prompts, {}).hidden, pipeline.encode_prompt(prompts, "cpu", 1, False)[0])
    ((role, table),) = ours.tables.items()
    vectors_KD = torch.randn(2, table.shape[1], generator=torch.Generator().manual_seed(9))
    pipeline.load_textual_inversion(vectors_KD, token="<cat-toy>")
    prompt = "a photo of a <cat-toy> on the beach"
    hidden = ours.encode_text([prompt], {"<cat-toy>": {role: vectors_KD}}).hidden
    assert torch.equal(hidden, pipeline.encode_prompt(prompt, "cpu", 1, False)[0])


def test_latents_are_scaled_as_the_unet_expects(model):
    moments = model.encode_images(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
    mean = moments.chunk(2, dim=1)[0]
    latents = model.sample_latents(moments, torch.zeros_like(mean))
    torch.testing.assert_close(latents, mean * model.vae.config.scaling_factor)


def test_the_fingerprint_depends_on_the_model_and_not_on_the_precision(pipeline_folder, tmp_path):
    fingerprint, of_bfloat16 = (
        load(str(pipeline_folder), dtype=dtype).fingerprint for dtype in ("float32", "bfloat16")
    )
    assert fingerprint == of_bfloat16
    other = load(str(tiny_pipeline(tmp_path / "v", prediction_type="v_prediction")))
    assert other.fingerprint != fingerprint
    assert other.noise_process.prediction_type == "v_prediction"
    changed = tiny_parts()
    changed["unet"].conv_in.weight.data.add_(0.1)
    assert LatentDiffusion(STABLE_DIFFUSION, changed, name="changed").fingerprint != fingerprint


def test_half_precision_files_are_loaded_in_model_dtype(tmp_path):
    pipeline = StableDiffusionPipeline(
        **tiny_parts(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.to(torch.float16).save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert {parameter.dtype for parameter in [*loaded.parameters(), *loaded.vae.parameters()]} == {torch.float32}
    assert tiny_module(loaded).learned_tokens[0].embedding.weights["clip_l"].dtype == torch.float32


def test_two_runs_can_share_one_model(model):
    first, second = tiny_module(model), tiny_module(model, num_vectors=2, init="random")
    assert first.model is second.model
    vectors = [module.export_vectors() for module in (first, second, first)]
    hidden = [model.encode_text(["a <cat-toy>"], each).hidden for each in vectors]
    assert not torch.equal(hidden[0], hidden[1])
    assert torch.equal(hidden[0], hidden[2])
