"""A word and its negative: the laws of learning them together, their two files, and drawing with both."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors import safe_open

from tests.resuming import broken_off
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.cli import main
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, get_format, read, read_all, write
from tinv.formats.negative import negative_path, negative_token
from tinv.inference import load_pipeline as pipeline
from tinv.models.sampling import sample_pixels
from tinv.publish.model_card import usage
from tinv.seeding import normal_pair

PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]
FAST = {"num_inference_steps": 3, "guidance_scale": 3.0}
GUIDANCE = 4.0


def apart(model, **options):
    """A module whose word and negative have drifted apart."""
    module = tiny_module(model, num_vectors=2, num_negative_vectors=3, guidance_scale=GUIDANCE, **options)
    draw = torch.Generator().manual_seed(3)
    for rows in module.learned_tokens[0].embedding.parameters():
        torch.nn.init.normal_(rows, generator=draw)
    return module


def learned(model) -> LearnedEmbedding:
    return LearnedEmbedding("<cat-toy>", apart(model).export_vectors()["<cat-toy>"], {"steps": "3"})


def test_where_both_are_alike_loss_and_gradients_are_those_of_an_ordinary_word(model, batch):
    """o + g (p - o) is p where p = o; of its slope the word has g, its negative 1 - g."""
    plain, both = (
        tiny_module(model, num_vectors=2),
        tiny_module(model, num_vectors=2, num_negative_vectors=2, guidance_scale=GUIDANCE),
    )
    losses = [module.losses(batch) for module in (plain, both)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.mean().backward()
    gradient = plain.learned_tokens[0].embedding.weights["clip_l"].grad
    embedding = both.learned_tokens[0].embedding
    torch.testing.assert_close(embedding.weights["clip_l"].grad, GUIDANCE * gradient, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(
        embedding.num_negative_vectors["clip_l"].grad, (1 - GUIDANCE) * gradient, rtol=1e-3, atol=1e-7
    )


def test_the_loss_is_that_of_two_passes_guided_apart(model, batch):
    module, heard, predict = apart(model), [], model.predict
    model.predict = lambda x, t, told, geometry: heard.append((told, predict(x, t, told, geometry))) or heard[-1][1]
    try:
        loss = module.losses(batch)
    finally:
        del model.predict
    (told, word), (said, opposite) = heard
    for rows, conditioning in (
        (module.learned_tokens[0].embedding.weights, told),
        (module.learned_tokens[0].embedding.num_negative_vectors, said),
    ):
        expected = model.encode_text(batch.captions, {"<cat-toy>": {"clip_l": rows["clip_l"]}}).hidden
        torch.testing.assert_close(conditioning.hidden, expected)
    _, noise = normal_pair(batch.noise_seeds.tolist(), word.shape[1:])
    error = opposite + GUIDANCE * (word - opposite) - noise
    torch.testing.assert_close(loss, error.square().mean(dim=(1, 2, 3)))


def test_a_picture_is_steered_from_its_own_prompt_with_the_negative_in_it(model):
    vectors = apart(model).export_vectors()
    drawn = sample_pixels(model, PROMPTS, vectors, seeds=[1, 2], **FAST)
    rows = vectors["<cat-toy>"]
    two = {"<cat-toy>": {"clip_l": rows["clip_l"]}, "<other>": {"clip_l": rows["clip_l/negative"]}}
    expected = [
        sample_pixels(
            model, PROMPTS[:1], two, seeds=[1], negative_prompt=PROMPTS[0].replace("<cat-toy>", "<other>"), **FAST
        ),
        sample_pixels(model, PROMPTS[1:], {}, seeds=[2], **FAST),
    ]
    torch.testing.assert_close(drawn, torch.cat(expected), atol=1e-4, rtol=0)
    more = sample_pixels(model, PROMPTS[:1], vectors, seeds=[1], negative_prompt="dark", **FAST)
    said = f"{PROMPTS[0].replace('<cat-toy>', '<other>')}, dark"
    torch.testing.assert_close(
        more, sample_pixels(model, PROMPTS[:1], two, seeds=[1], negative_prompt=said, **FAST), atol=1e-4, rtol=0
    )


def test_a_resumed_run_is_the_uninterrupted_run_to_the_last_bit(model, tmp_path):
    data = tiny_data(tmp_path / "data", model)
    run = broken_off(
        lambda: tiny_module(model, num_negative_vectors=2, ema=0.9, norm="soft"), data, tmp_path, at=3, of=6
    )
    before, after = (module.export_vectors()["<cat-toy>"] for module in (run.whole, run.resumed))
    assert set(before) == {"clip_l", "clip_l/negative"}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(before["clip_l"], before["clip_l/negative"][:1])
    other = tiny_module(model, num_negative_vectors=2, ema=0.9, norm="soft", guidance_scale=3.0)
    with pytest.raises(UserError, match=r"embedding\.guidance was 5\.0 and is 3\.0"):
        tiny_trainer().fit(other, data, ckpt_path=run.checkpoint, weights_only=True)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "sdxl"])
def test_every_format_has_two_ordinary_files_for_them(model, tmp_path, name):
    word = learned(model)
    get_format(name).check(word)
    files = write(get_format(name).default_path(tmp_path, word), word, name)
    assert [file.stem for file in files] == [files[0].stem, f"{files[0].stem}-neg"]
    alone = [read_all(file.rename(tmp_path / f"{number}{file.suffix}"))[0] for number, file in enumerate(files)]
    assert torch.equal(alone[0].vectors["clip_l"], word.vectors["clip_l"])
    assert torch.equal(alone[1].vectors["clip_l"], word.vectors["clip_l/negative"])
    assert [each.placeholder_token for each in alone] == ["<cat-toy>", "<cat-toy-neg>"]


def test_a_run_is_read_as_the_word_with_its_negative(model, tmp_path):
    word = learned(model)
    write(tmp_path / "learned_embeds.safetensors", word)
    back = read(tmp_path)
    assert (back.placeholder_token, back.provenance) == (word.placeholder_token, word.provenance)
    assert all(torch.equal(back.vectors[name], rows) for name, rows in word.vectors.items())
    with safe_open(tmp_path / "learned_embeds-neg.safetensors", framework="pt") as file:
        assert file.metadata()["modelspec.is_negative_embedding"] == "true"
    (tmp_path / "learned_embeds-neg.safetensors").unlink()
    assert list(read(tmp_path).vectors) == ["clip_l"]


@pytest.mark.parametrize(
    ("word", "name"), [("<cat-toy>", "<cat-toy-neg>"), ("my-mug", "my-mug-neg"), ("[x]!", "[x-neg]!")]
)
def test_the_negative_is_called_after_the_word(word, name):
    assert negative_token(word) == name


def test_its_file_is_called_after_the_words(tmp_path):
    assert (
        negative_path(tmp_path / "learned_embeds-steps-50.safetensors").name
        == "learned_embeds-neg-steps-50.safetensors"
    )
    assert negative_path(tmp_path / "cat-toy.pt").name == "cat-toy-neg.pt"


def test_diffusers_own_loader_draws_with_both_what_tinv_draws(model, pipeline_folder, tmp_path):
    word = learned(model)
    files = write(tmp_path / "learned_embeds.safetensors", word)
    opposite = PROMPTS[0].replace("<cat-toy>", "<cat-toy-neg>")
    (ours,) = sample_pixels(model, PROMPTS[:1], {"<cat-toy>": word.vectors}, seeds=[5], **FAST)
    for by_hand in (True, False):
        pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder)
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
        if by_hand:
            pipe.load_textual_inversion(list(map(str, files)))
        else:
            assert pipeline.load(pipe, tmp_path) == ["<cat-toy>", "<cat-toy-neg>"]
        options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "pt"}
        draw = torch.Generator().manual_seed(5)
        (theirs,) = pipe(PROMPTS[0], negative_prompt=opposite, generator=draw, **options).images
        torch.testing.assert_close(theirs.float(), ours, atol=1e-4, rtol=0)


def test_convert_and_inspect_know_both(model, tmp_path, capsys):
    write(tmp_path / "learned_embeds.safetensors", learned(model))
    assert main(["convert", str(tmp_path), str(tmp_path / "out"), "--to", "a1111"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat-toy-neg.pt", "cat-toy.pt"]
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "clip_l/negative 3 vectors of width 32" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_negative_vectors": -1}, "embedding.num_negative_vectors must be 0 or more"),
        ({"num_negative_vectors": 2, "timestep_stages": 3}, "has no place beside stages or layers"),
        ({"num_negative_vectors": 2, "per_layer": True}, "has no place beside stages or layers"),
        ({"num_negative_vectors": 2, "guidance_scale": 1.0}, "embedding.guidance_scale must be above 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        EmbeddingConfig(**settings)


def test_the_card_of_a_published_word_loads_both(model):
    word = learned(model)
    files = ["learned_embeds.safetensors", "learned_embeds-neg.safetensors"]
    assert usage(word, repo_id="me/cat", files=files).splitlines()[-4:-1] == [
        'pipe.load_textual_inversion("me/cat")',
        'pipe.load_textual_inversion("me/cat", weight_name="learned_embeds-neg.safetensors")',
        'image = pipe("a photo of a <cat-toy>", negative_prompt="a photo of a <cat-toy-neg>").images[0]',
    ]
