"""The shipped model is a diffusers pipeline folder, is small, and has the figures of its card."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from tinv.toybox import CLIP, PIPELINE
from tinv.toybox.clip_features import ToyboxClip, to_pixels
from tinv.toybox.concepts import ALL_CONCEPTS
from tinv.toybox.measure import card_text, measure_sizes, measure_vae
from tinv.toybox.pretrain.pca_encoder import encode, principal_components
from tinv.toybox.pretrain.settings import Recipe
from tinv.toybox.pretrain.vae import new_vae
from tinv.toybox.recovery import encode_renders
from tinv.toybox.sampling import load_pipeline, sample
from tinv.toybox.world import render_image

CARD = PIPELINE.parent / "card"


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((CARD / "card.json").read_text())


def test_plain_diffusers_loads_the_folder():
    """With no argument except the path; everything computes in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE)
    modules = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert {module.dtype for module in modules} == {torch.float32}
    assert pipeline.safety_checker is None
    assert pipeline.text_encoder.config.eos_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.tokenizer.model_max_length == 77
    assert all(p.isfinite().all() for module in modules for p in module.parameters())


def test_the_text_encoder_is_that_of_the_clip_model():
    clip, pipeline = ToyboxClip(), StableDiffusionPipeline.from_pretrained(PIPELINE)
    ids = pipeline.tokenizer(["a red cat toy on the beach"], return_tensors="pt").input_ids
    with torch.no_grad():
        ours = pipeline.text_encoder(ids).last_hidden_state
        theirs = clip.clip.model.text_model(ids).last_hidden_state
    assert torch.equal(ours, theirs)


def test_the_files_are_small(card):
    assert measure_sizes(PIPELINE.parent) == card["sizes"]
    assert card["sizes"]["megabytes"] <= 24
    assert CLIP.is_dir()


@pytest.mark.slow
def test_the_vae_reconstructs_images(card):
    """At least 27 dB on held-out renders, and the figure of the card."""
    result = measure_vae(PIPELINE)
    assert result >= 27
    assert result == pytest.approx(card["vae_psnr"], abs=0.05)


def test_the_handwritten_encoder_is_a_projection_on_principal_components():
    images = torch.from_numpy(np.stack([render_image(seed)[0] for seed in range(60)])).permute(0, 3, 1, 2)
    vae = new_vae(images, Recipe().vae)
    components = principal_components(to_pixels(images.permute(0, 2, 3, 1).numpy()), 8)
    inputs = to_pixels(images.permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        result = vae.encode(inputs).latent_dist
    torch.testing.assert_close(result.mean, encode(inputs, components), atol=0.02, rtol=0)
    assert result.logvar.mean() == pytest.approx(-6.0, abs=1e-3)


def test_the_card_has_the_measured_figures(card):
    assert (CARD / "README.md").read_text() == card_text(card)
    assert (CARD / "contact_sheet.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [concept.name for concept in ALL_CONCEPTS])
def test_the_image_encoder_separates_each_concept_from_similar_toys(name):
    """The area under the ROC curve is at least 0.95."""
    assert encode_renders(name, ToyboxClip()).area_under_curve >= 0.95


def test_a_sample_is_a_function_of_its_prompt_and_index():
    pipeline = load_pipeline()
    images = sample(pipeline, ["a photo of a red car on the grass"] * 2, seed=1, num_inference_steps=2)
    assert np.array_equal(
        images, sample(pipeline, ["a photo of a red car on the grass"] * 2, seed=1, num_inference_steps=2)
    )
    assert not np.array_equal(images[0], images[1])


def test_the_decoder_is_the_only_trained_part_of_the_vae():
    """The shipped encoder has a constant variance, like the handwritten one."""
    vae = AutoencoderKL.from_pretrained(PIPELINE / "vae")
    with torch.no_grad():
        posterior = vae.encode(to_pixels(render_image(3)[0][None])).latent_dist
    assert posterior.logvar.std() < 1e-3
