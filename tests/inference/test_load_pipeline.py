"""A plain diffusers pipeline with embeddings from `load` draws the same images as tinv."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from tests.models.published import is_close
from tests.tiny import tiny_parts
from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.inference.load_pipeline import load as load_into
from tinv.models.conditioning import layers_of
from tinv.models.sampling import generate_images

PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]


@pytest.fixture
def pipe(pipeline_folder):
    pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def embedding(placeholder: str, *names: str, num_vectors: int = 2) -> LearnedEmbedding:
    generator = torch.Generator().manual_seed(len(placeholder))
    return LearnedEmbedding(placeholder, {name: torch.randn(num_vectors, 32, generator=generator) for name in names})


def per_timestep(placeholder: str = "<cat-toy>", stages: int = 5) -> LearnedEmbedding:
    return embedding(placeholder, *(f"clip_l/stage.{number}" for number in range(stages)))


def per_layer(placeholder: str = "<cat-toy>") -> LearnedEmbedding:
    return embedding(placeholder, *(f"clip_l/{name}" for name in layers_of(tiny_parts()["unet"])))


def save(path, *learned):
    for number, each in enumerate(learned):
        formats.write(path / str(number) / "learned_embeds.safetensors", each)
    return [path / str(number) for number in range(len(learned))]


def check_images(pipe, model, prompts, *learned, **options):
    """Compare the images of the pipeline with those of tinv."""
    vectors = {each.placeholder_token: each.vectors for each in learned}
    options |= {"num_inference_steps": 4, "guidance_scale": 3.0}
    ours = generate_images(model, prompts, vectors, seeds=[5] * len(prompts), **options)
    for prompt, expected in zip(prompts, ours, strict=True):
        theirs = pipe(prompt, generator=torch.Generator().manual_seed(5), **options).images[0]
        assert is_close(theirs, expected)


@pytest.mark.parametrize("options", [{}, {"negative_prompt": "a drawing of a <cat-toy>"}])
@pytest.mark.parametrize("build", [per_timestep, per_layer])
def test_images_of_a_token_with_parts_are_those_of_tinv(pipe, model, tmp_path, build, options):
    assert load_into(pipe, *save(tmp_path, build())) == ["<cat-toy>"]
    check_images(pipe, model, PROMPTS, build(), **options)
    two = pipe(PROMPTS[0], num_inference_steps=2, num_images_per_prompt=2, generator=torch.Generator().manual_seed(0))
    assert len(two.images) == 2


def test_tokens_of_all_kinds_can_be_loaded_together(pipe, model, tmp_path):
    learned = [per_timestep(), per_timestep("<robot>", stages=4), embedding("<mug>", "clip_l"), per_layer("<tree>")]
    assert load_into(pipe, *save(tmp_path, *learned)) == ["<cat-toy>", "<robot>", "<mug>", "<tree>"]
    check_images(pipe, model, ["a <mug> and a <robot> and a <cat-toy> at a <tree>"], *learned)


def test_an_ordinary_token_is_loaded_as_by_diffusers(pipe, pipeline_folder, tmp_path):
    (file,) = save(tmp_path, embedding("<mug>", "clip_l"))
    assert load_into(pipe, file, token="<cup>") == ["<cup>"]
    assert not pipe.unet._forward_pre_hooks and not pipe.text_encoder._forward_hooks
    theirs = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    theirs.load_textual_inversion(file, token="<cup>")
    tables = [each.text_encoder.get_input_embeddings().weight for each in (pipe, theirs)]
    assert torch.equal(*tables)


def test_embeddings_that_do_not_fit_are_refused(pipe, tmp_path):
    (file,) = save(tmp_path, per_timestep())
    wide = LearnedEmbedding("<big>", {"clip_l/stage.0": torch.ones(1, 768), "clip_l/stage.1": torch.ones(1, 768)})
    (other,) = save(tmp_path / "other", wide)
    with pytest.raises(UserError, match=r"<big> has vectors of width \{'clip_l': 768\}, but the pipeline needs"):
        load_into(pipe, other)
    (other_layers,) = save(tmp_path / "strange", embedding("<odd>", "clip_l/mid_block.a", "clip_l/mid_block.b"))
    with pytest.raises(UserError, match=r"The pipeline's U-Net has other layers than the model of <odd>"):
        load_into(pipe, other_layers)
    load_into(pipe, file)
    with pytest.raises(UserError, match=r"already has tokens with parts.*Give all files to one call"):
        load_into(pipe, file)
