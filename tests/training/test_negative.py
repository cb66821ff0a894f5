"""Negative vectors: how they are trained, their two files, and samples with them."""

from functools import partial

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors import safe_open

from tests.resuming import run_and_resume
from tests.tiny import fit, tiny_data, tiny_module, weights
from tinv.cli import main
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, get_format, read, read_all, write
from tinv.formats.negative import negative_path, negative_token
from tinv.inference.load_embedding import load_embedding
from tinv.models.sampling import sample_pixels
from tinv.publish.model_card import usage
from tinv.seeding import normal_pair

PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]
NEGATIVE_PROMPT = "a photo of a <cat-toy-neg> on the beach"
FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}
GUIDANCE = 4.0


def make_module(model, num_vectors=2, num_negative_vectors=3):
    """A module with random vectors."""
    settings = {"num_vectors": num_vectors, "num_negative_vectors": num_negative_vectors, "guidance_scale": GUIDANCE}
    module, generator = tiny_module(model, **settings), torch.Generator().manual_seed(3)
    for vectors in module.learned_tokens[0].embedding.parameters():
        torch.nn.init.normal_(vectors, generator=generator)
    return module


@pytest.fixture
def learned(model) -> LearnedEmbedding:
    return LearnedEmbedding("<cat-toy>", make_module(model).export_vectors()["<cat-toy>"], {"steps": "3"})


def test_equal_vectors_have_the_loss_of_an_ordinary_embedding_and_scaled_gradients(model, batch):
    """n + g (p - n) is p where p = n; its derivative is g in the positive vectors and 1 - g in the negative."""
    plain, module = (
        tiny_module(model, num_vectors=2, num_negative_vectors=count, guidance_scale=GUIDANCE) for count in (0, 2)
    )
    losses = [each.losses(batch) for each in (plain, module)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.mean().backward()
    gradient, negative = weights(plain).grad, module.learned_tokens[0].embedding.negative_weights["clip_l"]
    torch.testing.assert_close(weights(module).grad, GUIDANCE * gradient, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(negative.grad, (1 - GUIDANCE) * gradient, rtol=1e-3, atol=1e-7)


def test_loss_is_that_of_classifier_free_guidance_with_the_negative(model, batch, monkeypatch):
    module, calls, predict = make_module(model), [], model.predict

    def record(x, t, conditioning, geometry):
        calls.append((conditioning, predict(x, t, conditioning, geometry)))
        return calls[-1][1]

    monkeypatch.setattr(model, "predict", record)
    loss = module.losses(batch)
    (conditioning, positive), (negative_conditioning, negative) = calls
    embedding = module.learned_tokens[0].embedding
    for vectors, features in (
        (embedding.weights, conditioning),
        (embedding.negative_weights, negative_conditioning),
    ):
        expected = model.encode_text(batch.captions, {"<cat-toy>": {"clip_l": vectors["clip_l"]}}).hidden
        torch.testing.assert_close(features.hidden, expected)
    _, noise = normal_pair(batch.noise_seeds.tolist(), positive.shape[1:])
    error = negative + GUIDANCE * (positive - negative) - noise
    torch.testing.assert_close(loss, error.square().mean(dim=(1, 2, 3)))


def test_samples_are_guided_away_from_their_prompt_with_the_negative_in_it(model, learned):
    positive, negative = learned.vectors["clip_l"], learned.vectors["clip_l/negative"]
    tokens = {"<cat-toy>": {"clip_l": positive}, "<cat-toy-neg>": {"clip_l": negative}}

    def sample(prompts, vectors, seeds, **options):
        return sample_pixels(model, prompts, vectors, seeds=seeds, **FAST, **options)

    samples = sample(PROMPTS, {"<cat-toy>": learned.vectors}, [1, 2])
    guided = sample(PROMPTS[:1], tokens, [1], negative_prompt=NEGATIVE_PROMPT)
    expected = torch.cat([guided, sample(PROMPTS[1:], {}, [2])])
    torch.testing.assert_close(samples, expected, atol=1e-4, rtol=0)
    darker = sample(PROMPTS[:1], {"<cat-toy>": learned.vectors}, [1], negative_prompt="dark")
    expected = sample(PROMPTS[:1], tokens, [1], negative_prompt=f"{NEGATIVE_PROMPT}, dark")
    torch.testing.assert_close(darker, expected, atol=1e-4, rtol=0)


def test_resumed_run_is_bit_identical_and_must_have_the_same_guidance(model, tmp_path):
    data = tiny_data(tmp_path / "data", model)
    make = partial(tiny_module, model, num_negative_vectors=2, ema=0.9, norm="soft")
    run = run_and_resume(make, data, tmp_path, at=3, max_steps=6)
    run.assert_equal()
    vectors = run.resumed.export_vectors()["<cat-toy>"]
    assert set(vectors) == {"clip_l", "clip_l/negative"}
    assert not torch.equal(vectors["clip_l"], vectors["clip_l/negative"][:1])
    with pytest.raises(UserError, match=r"embedding\.guidance_scale was 5\.0 and is 3\.0"):
        fit(make(guidance_scale=3.0), data, resume=run.checkpoint)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "sdxl"])
def test_every_format_writes_two_ordinary_files(learned, tmp_path, name):
    get_format(name).check(learned)
    files = write(get_format(name).default_path(tmp_path, learned), learned, name)
    assert [file.stem for file in files] == [files[0].stem, f"{files[0].stem}-neg"]
    alone = [read_all(file.rename(tmp_path / f"{number}{file.suffix}"))[0] for number, file in enumerate(files)]
    assert torch.equal(alone[0].vectors["clip_l"], learned.vectors["clip_l"])
    assert torch.equal(alone[1].vectors["clip_l"], learned.vectors["clip_l/negative"])
    assert [each.placeholder_token for each in alone] == ["<cat-toy>", "<cat-toy-neg>"]


def test_run_folder_is_read_with_its_negative(learned, tmp_path):
    write(tmp_path / "learned_embeds.safetensors", learned)
    back = read(tmp_path)
    assert (back.placeholder_token, back.provenance) == (learned.placeholder_token, learned.provenance)
    assert all(torch.equal(back.vectors[name], vectors) for name, vectors in learned.vectors.items())
    with safe_open(tmp_path / "learned_embeds-neg.safetensors", framework="pt") as file:
        assert file.metadata()["modelspec.is_negative_embedding"] == "true"
    (tmp_path / "learned_embeds-neg.safetensors").unlink()
    assert list(read(tmp_path).vectors) == ["clip_l"]


def test_negative_token_and_file_are_named_after_the_positive(tmp_path):
    names = {"<cat-toy>": "<cat-toy-neg>", "my-mug": "my-mug-neg", "[x]!": "[x-neg]!"}
    assert {token: negative_token(token) for token in names} == names
    files = {"learned_embeds-steps-50.bin": "learned_embeds-neg-steps-50.bin", "cat-toy.pt": "cat-toy-neg.pt"}
    assert {name: negative_path(tmp_path / name).name for name in files} == files


@pytest.mark.parametrize("loader", ["diffusers", "tinv"])
def test_diffusers_pipeline_samples_what_tinv_samples(model, pipeline_folder, learned, tmp_path, loader):
    files = write(tmp_path / "learned_embeds.safetensors", learned)
    pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    if loader == "diffusers":
        pipe.load_textual_inversion(list(map(str, files)))
    else:
        assert load_embedding(pipe, tmp_path) == ["<cat-toy>", "<cat-toy-neg>"]
    generator = torch.Generator().manual_seed(5)
    options = {**FAST, "output_type": "pt", "generator": generator, "negative_prompt": NEGATIVE_PROMPT}
    (image,) = pipe(PROMPTS[0], **options).images
    (expected,) = sample_pixels(model, PROMPTS[:1], {"<cat-toy>": learned.vectors}, seeds=[5], **FAST)
    torch.testing.assert_close(image.float(), expected, atol=1e-4, rtol=0)


def test_convert_and_inspect_handle_negatives(learned, tmp_path, capsys):
    write(tmp_path / "learned_embeds.safetensors", learned)
    assert main(["convert", str(tmp_path), str(tmp_path / "out"), "--to", "a1111"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat-toy-neg.pt", "cat-toy.pt"]
    assert main(["inspect", str(tmp_path)]) == 0
    assert "clip_l/negative 3 vectors of width 32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"num_negative_vectors": -1}, "num_negative_vectors"),
        ({"num_negative_vectors": 2, "timestep_stages": 3}, "num_negative_vectors"),
        ({"num_negative_vectors": 2, "per_layer": True}, "num_negative_vectors"),
        ({"num_negative_vectors": 2, "guidance_scale": 1.0}, "guidance_scale"),
    ],
)
def test_invalid_settings_are_rejected_by_name(settings, setting):
    with pytest.raises(UserError, match=rf"embedding\.{setting}"):
        EmbeddingConfig(**settings)


def test_model_card_loads_the_negative_file(learned):
    files = ["learned_embeds.safetensors", "learned_embeds-neg.safetensors"]
    assert usage(learned, repo_id="me/cat", files=files).splitlines()[-4:-1] == [
        'pipe.load_textual_inversion("me/cat")',
        'pipe.load_textual_inversion("me/cat", weight_name="learned_embeds-neg.safetensors")',
        'image = pipe("a photo of a <cat-toy>", negative_prompt="a photo of a <cat-toy-neg>").images[0]',
    ]
