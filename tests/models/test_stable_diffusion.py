import copy

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from tests.models.published import published
from tests.tiny import RESOLUTION, tiny_model, tiny_module, tiny_parts, tiny_pipeline
from tinv import formats
from tinv.models import STABLE_DIFFUSION, LatentDiffusion, load
from tinv.models.sampling import generate_images, sample_pixels
from tinv.types import Vectors

FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}


def rows(count: int) -> Vectors:
    return {"<cat-toy>": {"clip_l": torch.randn(count, 32, generator=torch.Generator().manual_seed(9))}}


def test_everything_is_frozen_and_stays_in_evaluation_mode(model):
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
def test_text_of_each_layout_is_encoded_as_its_pipeline_does(layout):
    """Also with a learned word; Stable Diffusion 2 pads with `!` and has the layer before the last in its files."""
    pipeline = copy.deepcopy(published(layout))
    parts = {name: pipeline.components[name] for name in ("tokenizer", "text_encoder", "vae", "unet", "scheduler")}
    ours = LatentDiffusion(STABLE_DIFFUSION, copy.deepcopy(parts), name="tiny")
    prompts = ["a photo of a red cat!", "", "painting " * 80]
    assert torch.equal(ours.encode_text(prompts, {}).hidden, pipeline.encode_prompt(prompts, "cpu", 1, False)[0])
    ((encoder, table),) = ours.tables.items()
    rows_KD = torch.randn(2, table.shape[1], generator=torch.Generator().manual_seed(9))
    pipeline.load_textual_inversion(rows_KD, token="<cat-toy>")
    prompt = "a photo of a <cat-toy> on the beach"
    hidden = ours.encode_text([prompt], {"<cat-toy>": {encoder: rows_KD}}).hidden
    assert torch.equal(hidden, pipeline.encode_prompt(prompt, "cpu", 1, False)[0])


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_our_file_through_diffusers_own_loader_gives_the_same_picture(model, pipeline_folder, tmp_path, num_vectors):
    module = tiny_module(model, num_vectors=num_vectors)
    module.learned_tokens[0].embedding.weights["clip_l"].data = rows(num_vectors)["<cat-toy>"]["clip_l"]
    formats.write(tmp_path / "learned_embeds.safetensors", module.learned_embeddings()[0])
    pipeline = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_textual_inversion(tmp_path / "learned_embeds.safetensors")
    prompt = "a photo of a <cat-toy> on the beach"
    theirs = pipeline(
        prompt, num_inference_steps=3, guidance_scale=3.0, generator=torch.Generator().manual_seed(5)
    ).images[0]
    (ours,) = generate_images(model, [prompt], module.export_vectors(), seeds=[5], **FAST)
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1
    (plain,) = generate_images(model, ["a photo of a toy on the beach"], {}, seeds=[5], **FAST)
    assert np.asarray(plain).tobytes() != np.asarray(ours).tobytes()


def test_a_picture_depends_on_its_own_prompt_and_seed_alone(model):
    prompts, seeds = ["a red cat", "a dog", "a toy"], [3, 4, 5]
    together = sample_pixels(model, prompts, {}, seeds=seeds, **FAST)
    alone = torch.cat([sample_pixels(model, [p], {}, seeds=[s], **FAST) for p, s in zip(prompts, seeds, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    assert together.shape == (3, 3, RESOLUTION, RESOLUTION) and together.min() >= 0 and together.max() <= 1


def test_sampling_leaves_the_global_stream_alone(model):
    before = torch.get_rng_state()
    sample_pixels(model, ["a cat"], {}, seeds=[1], **FAST)
    assert torch.equal(before, torch.get_rng_state())


def test_latents_are_scaled_as_the_unet_expects(model):
    moments = model.encode_images(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
    mean = moments.chunk(2, dim=1)[0]
    latents = model.sample_latents(moments, torch.zeros_like(mean))
    torch.testing.assert_close(latents, mean * model.vae.config.scaling_factor)


def test_the_fingerprint_tells_models_apart_and_not_precisions(pipeline_folder, tmp_path):
    as_loaded = [load(str(pipeline_folder), dtype=dtype).fingerprint for dtype in ("float32", "bfloat16")]
    assert as_loaded[0] == as_loaded[1]
    other = load(str(tiny_pipeline(tmp_path / "v", prediction_type="v_prediction")))
    assert other.fingerprint != as_loaded[0]
    assert other.schedule.prediction_type == "v_prediction"
    changed = tiny_parts()
    changed["unet"].conv_in.weight.data.add_(0.1)
    assert LatentDiffusion(STABLE_DIFFUSION, changed, name="changed").fingerprint != as_loaded[0]


def test_weights_run_in_the_precision_that_is_asked_for_whatever_they_were_saved_in(tmp_path):
    """E-6: a repository of halves would give half-precise weights, and rows after them."""
    pipeline = StableDiffusionPipeline(
        **tiny_parts(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.to(torch.float16).save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert {parameter.dtype for parameter in [*loaded.parameters(), *loaded.vae.parameters()]} == {torch.float32}
    assert tiny_module(loaded).learned_tokens[0].embedding.weights["clip_l"].dtype == torch.float32


def test_two_runs_can_share_one_model(tmp_path):
    model = tiny_model(tmp_path)
    first, second = tiny_module(model), tiny_module(model, num_vectors=2, init="random")
    assert first.model is second.model
    one = model.encode_text(["a <cat-toy>"], first.export_vectors()).hidden
    two = model.encode_text(["a <cat-toy>"], second.export_vectors()).hidden
    assert not torch.equal(one, two)
    assert torch.equal(one, model.encode_text(["a <cat-toy>"], first.export_vectors()).hidden)
