"""`tinv.inference.load_pipeline.load`: a plain pipeline of diffusers' draws what tinv draws."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

from tests.tiny import tiny_parts, tiny_pipeline
from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.inference import load_pipeline as pipeline
from tinv.models import load
from tinv.models.conditioning import layers_of
from tinv.models.sampling import generate_images

PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def plain(folder):
    made = StableDiffusionPipeline.from_pretrained(folder)
    made.scheduler = DPMSolverMultistepScheduler.from_config(made.scheduler.config)
    made.set_progress_bar_config(disable=True)
    return made


def word(placeholder: str, *names: str, num_vectors: int = 2) -> LearnedEmbedding:
    draw = torch.Generator().manual_seed(len(placeholder))
    return LearnedEmbedding(placeholder, {name: torch.randn(num_vectors, 32, generator=draw) for name in names})


def staged(placeholder: str = "<cat-toy>", stages: int = 5) -> LearnedEmbedding:
    return word(placeholder, *(f"clip_l/stage.{number}" for number in range(stages)))


def layered(placeholder: str = "<cat-toy>") -> LearnedEmbedding:
    return word(placeholder, *(f"clip_l/{name}" for name in layers_of(tiny_parts()["unet"])))


def saved(path, *learned):
    for number, each in enumerate(learned):
        formats.write(path / str(number) / "learned_embeds.safetensors", each)
    return [path / str(number) for number in range(len(learned))]


def same_pictures(made, folder, prompts, *learned, **options):
    model = load(str(folder))
    ours = generate_images(
        model,
        prompts,
        {each.placeholder_token: each.vectors for each in learned},
        seeds=[5] * len(prompts),
        num_inference_steps=4,
        guidance_scale=3.0,
        **options,
    )
    for prompt, expected in zip(prompts, ours, strict=True):
        negative = {"negative_prompt": options["negative_prompt"]} if options else {}
        draw = torch.Generator().manual_seed(5)
        theirs = made(prompt, num_inference_steps=4, guidance_scale=3.0, generator=draw, **negative).images[0]
        assert np.abs(np.asarray(theirs, dtype=int) - np.asarray(expected, dtype=int)).max() <= 1


@pytest.mark.parametrize("options", [{}, {"negative_prompt": "a drawing of a <cat-toy>"}])
@pytest.mark.parametrize("made", [staged, layered])
def test_pictures_of_a_word_with_parts_are_those_that_tinv_draws(plain, folder, tmp_path, made, options):
    assert pipeline.load(plain, *saved(tmp_path, made())) == ["<cat-toy>"]
    same_pictures(plain, folder, PROMPTS, made(), **options)
    two = plain(PROMPTS[0], num_inference_steps=2, num_images_per_prompt=2, generator=torch.Generator().manual_seed(0))
    assert len(two.images) == 2


def test_words_of_all_kinds_go_together(plain, folder, tmp_path):
    learned = [staged(), staged("<robot>", timestep_stages=4), word("<mug>", "clip_l"), layered("<tree>")]
    assert pipeline.load(plain, *saved(tmp_path, *learned)) == ["<cat-toy>", "<robot>", "<mug>", "<tree>"]
    same_pictures(plain, folder, ["a <mug> and a <robot> and a <cat-toy> at a <tree>"], *learned)


def test_an_ordinary_word_is_loaded_as_diffusers_loads_it(plain, folder, tmp_path):
    (file,) = saved(tmp_path, word("<mug>", "clip_l"))
    assert pipeline.load(plain, file, token="<cup>") == ["<cup>"]
    assert not plain.unet._forward_pre_hooks and not plain.text_encoder._forward_hooks
    theirs = StableDiffusionPipeline.from_pretrained(folder)
    theirs.load_textual_inversion(file, token="<cup>")
    tables = [each.text_encoder.get_input_embeddings().weight for each in (plain, theirs)]
    assert torch.equal(*tables)


def test_what_cannot_be_loaded_is_said(plain, tmp_path):
    (file,) = saved(tmp_path, staged())
    wide = LearnedEmbedding("<big>", {"clip_l/stage.0": torch.ones(1, 768), "clip_l/stage.1": torch.ones(1, 768)})
    (other,) = saved(tmp_path / "other", wide)
    with pytest.raises(UserError, match=r"<big> has vectors of width \{'clip_l': 768\}, the pipeline takes"):
        pipeline.load(plain, other)
    (strange,) = saved(tmp_path / "strange", word("<odd>", "clip_l/mid_block.a", "clip_l/mid_block.b"))
    with pytest.raises(UserError, match=r"the pipeline's U-Net has other layers than the model of <odd>"):
        pipeline.load(plain, strange)
    pipeline.load(plain, file)
    with pytest.raises(UserError, match=r"has words with parts already.*give all files to one call"):
        pipeline.load(plain, file)
