"""Pictures are those of diffusers' own schedulers, whatever the model's configuration leaves out."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline

from tests.tiny import tiny_pipeline
from tinv.errors import UserError
from tinv.models import load
from tinv.models.sampling import SAMPLERS, build_scheduler, generate_images, sample_pixels

SCHEDULERS = {"dpm": DPMSolverMultistepScheduler, "ddim": DDIMScheduler}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_pictures_are_those_of_diffusers_own_pipeline(tmp_path, name, prediction_type):
    folder = tiny_pipeline(tmp_path / "model", prediction_type=prediction_type)
    (ours,) = generate_images(
        load(str(folder)), ["a cat"], {}, seeds=[5], num_inference_steps=4, guidance_scale=3.0, sampler=name
    )
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    without_clipping = {"clip_sample": False, "set_alpha_to_one": False} if name == "ddim" else {}
    pipe.scheduler = SCHEDULERS[name].from_config(pipe.scheduler.config, **without_clipping)
    generator = torch.Generator().manual_seed(5)
    theirs = pipe("a cat", num_inference_steps=4, guidance_scale=3.0, eta=0.0, generator=generator).images[0]
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 1


def test_they_draw_different_pictures_and_dpm_is_the_usual_one(tmp_path):
    model = load(str(tiny_pipeline(tmp_path / "model")))
    drawn = {
        name: sample_pixels(model, ["a cat"], {}, seeds=[1], num_inference_steps=4, sampler=name) for name in SAMPLERS
    }
    assert not torch.equal(drawn["dpm"], drawn["ddim"])
    assert torch.equal(drawn["dpm"], sample_pixels(model, ["a cat"], {}, seeds=[1], num_inference_steps=4))


def test_ddim_never_clips_latents_though_its_own_default_does():
    assert DDIMScheduler().config.clip_sample
    made = build_scheduler("ddim", {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear"})
    assert not made.config.clip_sample
    assert made.final_alpha_cumprod == made.alphas_cumprod[0]


def test_an_unknown_one_is_refused():
    with pytest.raises(UserError, match="--sampler must be dpm or ddim, got 'euler'"):
        build_scheduler("euler", {})
