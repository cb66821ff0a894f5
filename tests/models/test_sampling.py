"""Samples are those of diffusers' own pipelines and schedulers."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline

from tests.models.published import is_close
from tests.tiny import RESOLUTION, tiny_module, tiny_pipeline
from tinv import formats
from tinv.errors import UserError
from tinv.models import load
from tinv.models.sampling import build_scheduler, generate_images, sample_pixels

SCHEDULERS = {"dpm": DPMSolverMultistepScheduler, "ddim": DDIMScheduler}
FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_sampler_draws_the_images_of_diffusers_own_pipeline(tmp_path, name, prediction_type):
    folder = tiny_pipeline(tmp_path / "model", prediction_type=prediction_type)
    (ours,) = generate_images(load(str(folder)), ["a cat"], {}, seeds=[5], sampler=name, **FAST)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    without_clipping = {"clip_sample": False, "set_alpha_to_one": False} if name == "ddim" else {}
    pipe.scheduler = SCHEDULERS[name].from_config(pipe.scheduler.config, **without_clipping)
    theirs = pipe("a cat", eta=0.0, generator=torch.Generator().manual_seed(5), **FAST).images[0]
    assert is_close(ours, theirs)


def test_samplers_differ_and_dpm_is_the_default(model):
    names = ("dpm", "ddim")
    samples = {name: sample_pixels(model, ["a cat"], {}, seeds=[1], sampler=name, **FAST) for name in names}
    assert not torch.equal(samples["dpm"], samples["ddim"])
    assert torch.equal(samples["dpm"], sample_pixels(model, ["a cat"], {}, seeds=[1], **FAST))


def test_ddim_never_clips_latents_although_its_default_does(model):
    assert DDIMScheduler().config.clip_sample
    scheduler = build_scheduler("ddim", model)
    assert not scheduler.config.clip_sample
    assert scheduler.final_alpha_cumprod == scheduler.alphas_cumprod[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("euler", r"unknown sampler\. Use dpm, ddim or flow"), ("flow", "is not for Stable Diffusion 1 or 2")],
)
def test_an_unsuitable_sampler_is_refused(model, name, message):
    with pytest.raises(UserError, match=f"--sampler={name}: {message}"):
        build_scheduler(name, model)


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_a_saved_embedding_gives_the_same_image_in_diffusers(model, pipeline_folder, tmp_path, num_vectors):
    module = tiny_module(model, num_vectors=num_vectors)
    vectors_KD = torch.randn(num_vectors, 32, generator=torch.Generator().manual_seed(9))
    module.learned_tokens[0].embedding.weights["clip_l"].data = vectors_KD
    formats.write(tmp_path / "learned_embeds.safetensors", module.learned_embeddings()[0])
    pipeline = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_textual_inversion(tmp_path / "learned_embeds.safetensors")
    prompt = "a photo of a <cat-toy> on the beach"
    theirs = pipeline(prompt, generator=torch.Generator().manual_seed(5), **FAST).images[0]
    (ours,) = generate_images(model, [prompt], module.export_vectors(), seeds=[5], **FAST)
    assert is_close(ours, theirs)
    (plain,) = generate_images(model, ["a photo of a toy on the beach"], {}, seeds=[5], **FAST)
    assert plain.tobytes() != ours.tobytes()


def test_an_image_depends_on_its_own_prompt_and_seed_alone(model):
    prompts, seeds = ["a red cat", "a dog", "a toy"], [3, 4, 5]
    together = sample_pixels(model, prompts, {}, seeds=seeds, **FAST)
    alone = [sample_pixels(model, [prompt], {}, seeds=[seed], **FAST) for prompt, seed in zip(prompts, seeds)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)
    assert together.shape == (3, 3, RESOLUTION, RESOLUTION) and together.min() >= 0 and together.max() <= 1


def test_sampling_leaves_the_global_random_state_alone(model):
    before = torch.get_rng_state()
    sample_pixels(model, ["a cat"], {}, seeds=[1], **FAST)
    assert torch.equal(before, torch.get_rng_state())
