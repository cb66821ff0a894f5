"""A plain diffusers pipeline with embeddings from `load_embedding` draws the same images as tinv."""

from inspect import signature

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

import tinv
from tests.inference.text_sides import PIPELINES, build
from tests.models.published import is_close
from tests.tiny import tiny_parts
from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.inference.load_embedding import load_embedding as load_into
from tinv.inference.load_embedding import unload_embedding
from tinv.inference.pipeline_encoders import find_encoders
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
    arguments = ("a <cup> on a <cup>", "cpu", 1, True, "a photo of a <cup>")
    features = [each.encode_prompt(*arguments) for each in (pipe, theirs)]
    assert all(map(torch.equal, *features))


def test_embeddings_that_do_not_fit_are_refused(pipe, tmp_path):
    wide = LearnedEmbedding("<big>", {"clip_l/stage.0": torch.ones(1, 768), "clip_l/stage.1": torch.ones(1, 768)})
    (other,) = save(tmp_path / "other", wide)
    with pytest.raises(UserError, match=r"<big> has vectors of width \{'clip_l': 768\}, but the pipeline needs"):
        load_into(pipe, other)
    (other_layers,) = save(tmp_path / "strange", embedding("<odd>", "clip_l/mid_block.a", "clip_l/mid_block.b"))
    with pytest.raises(UserError, match=r"The pipeline's U-Net has other layers than the model of <odd>"):
        load_into(pipe, other_layers)


def test_a_token_with_parts_can_be_loaded_beside_others_and_unloaded(pipe, model, tmp_path):
    parts, ordinary = save(tmp_path, per_timestep(), embedding("<mug>", "clip_l"))
    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}
    before = pipe(PROMPTS[0], generator=torch.Generator().manual_seed(5), **options).images
    load_into(pipe, ordinary)
    load_into(pipe, parts)
    check_images(pipe, model, [*PROMPTS, "a <mug>"], per_timestep(), embedding("<mug>", "clip_l"))
    unload_embedding(pipe)
    after = pipe(PROMPTS[0], generator=torch.Generator().manual_seed(5), **options).images
    assert (before == after).all()


ARGUMENTS = {
    "do_classifier_free_guidance": True,
    "max_sequence_length": 1024,
    "num_images_per_prompt": 1,
    "num_videos_per_prompt": 1,
    "clean_caption": False,
}


def vectors_for(name: str, pipeline, num_vectors: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    encoders = find_encoders(pipeline)
    assert [*encoders] == [role for role, *_ in PIPELINES[name][1]]
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(num_vectors, each.width, generator=generator) for role, each in encoders.items()}


def encode(pipeline, prompt, negative_prompt="a red dog"):
    """Returns all tensors of the pipeline's own encoding of prompts and negative prompts."""
    options = {key: value for key, value in ARGUMENTS.items() if key in signature(pipeline.encode_prompt).parameters}
    suffixes = [name.removeprefix("prompt") for name in signature(pipeline.encode_prompt).parameters]
    options |= {name: None for suffix in suffixes if (name := f"prompt{suffix}") in ("prompt_2", "prompt_3")}
    if "negative_prompt" in signature(pipeline.encode_prompt).parameters:
        options["negative_prompt"] = negative_prompt
    with torch.no_grad():
        return flatten(pipeline.encode_prompt(prompt=prompt, device=torch.device("cpu"), **options))


def flatten(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for each in value for tensor in flatten(each)] if isinstance(value, list | tuple) else []


def put_into_tables(pipeline, vectors) -> None:
    """Puts vectors into the tables by hand, behind the vocabularies, under `<cat-toy>`, `<cat-toy>_1` ..."""
    for role, each in find_encoders(pipeline).items():
        tokens = ["<cat-toy>", *(f"<cat-toy>_{k}" for k in range(1, len(vectors[role])))]
        each.tokenizer.add_tokens(tokens)
        table = each.table.weight
        if len(each.tokenizer) > len(table):
            each.encoder.resize_token_embeddings(len(each.tokenizer), mean_resizing=False)
        ids = each.tokenizer.convert_tokens_to_ids(tokens)
        each.table.weight.data[ids] = vectors[role]


def all_equal(tensors, others) -> bool:
    return len(tensors) == len(others) > 0 and all(map(torch.equal, tensors, others))


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.filterwarnings("ignore:.*clean_caption")
def test_prompts_of_every_pipeline_are_encoded_as_with_the_vectors_in_its_tables(name, tmp_path):
    pipeline, by_hand = build(name), build(name)
    vectors = vectors_for(name, pipeline)
    formats.write(tmp_path / "learned_embeds.safetensors", LearnedEmbedding("<cat-toy>", vectors))
    put_into_tables(by_hand, vectors)
    plain = "a photo of <cat-toy> on the beach"
    expands = hasattr(by_hand, "maybe_convert_prompt")
    all_tokens = plain if expands else plain.replace("<cat-toy>", "<cat-toy> <cat-toy>_1 <cat-toy>_2")
    before, names = encode(pipeline, plain), [*pipeline.components]
    weights = [
        parameter.clone() for encoder in find_encoders(pipeline).values() for parameter in encoder.encoder.parameters()
    ]
    assert tinv.load_embedding(pipeline, tmp_path) == ["<cat-toy>"]
    expected = encode(by_hand, all_tokens)
    assert all_equal(encode(pipeline, plain), expected)
    assert not all_equal(before, expected)
    assert all_equal(encode(pipeline, plain.replace("toy", "TOY")), expected)
    listed = encode(pipeline, [plain, "a red dog"], negative_prompt=["a dog", plain])
    assert all_equal(listed, encode(by_hand, [all_tokens, "a red dog"], negative_prompt=["a dog", all_tokens]))
    tinv.unload_embedding(pipeline)
    assert all_equal(encode(pipeline, plain), before)
    assert [*pipeline.components] == names
    after = [parameter for encoder in find_encoders(pipeline).values() for parameter in encoder.encoder.parameters()]
    assert all_equal(after, weights)


def test_an_output_layer_that_shares_the_table_is_not_changed(tmp_path):
    pipeline = build("Flux.2 klein")
    (file,) = save(tmp_path, LearnedEmbedding("<cat-toy>", vectors_for("Flux.2 klein", pipeline)))
    ids = pipeline.tokenizer("a red dog", return_tensors="pt").input_ids
    with torch.no_grad():
        before = pipeline.text_encoder(ids).logits
        tinv.load_embedding(pipeline, file)
        assert torch.equal(pipeline.text_encoder(ids).logits, before)
    assert pipeline.text_encoder.lm_head.weight is pipeline.text_encoder.get_input_embeddings().weight


def test_embeddings_of_several_calls_are_in_the_pipeline_together_until_all_are_unloaded(tmp_path):
    pipeline, together = build("SD 3.5"), build("SD 3.5")
    cat, dog = (
        LearnedEmbedding(token, vectors_for("SD 3.5", pipeline, count, seed=count))
        for token, count in (("<cat-toy>", 2), ("dog", 1))
    )
    before = encode(pipeline, "a dog and a <cat-toy>")
    files = save(tmp_path, cat, dog)
    for file in files:
        tinv.load_embedding(pipeline, file)
    tinv.load_embedding(together, *files)
    assert all_equal(encode(pipeline, "a dog and a <cat-toy>"), encode(together, "a dog and a <cat-toy>"))
    longer = [encode(each, "hotdogs", negative_prompt="a mug") for each in (pipeline, build("SD 3.5"))]
    assert all_equal(*longer), "not inside a longer word"
    with pytest.raises(UserError, match="<cat-toy>: the pipeline has this token already"):
        tinv.load_embedding(pipeline, files[0])
    tinv.unload_embedding(pipeline)
    assert all_equal(encode(pipeline, "a dog and a <cat-toy>"), before)
    tinv.unload_embedding(pipeline)


def test_vectors_of_one_encoder_leave_the_word_to_the_others(tmp_path):
    pipeline = build("Flux.1")
    (file,) = save(tmp_path, LearnedEmbedding("<cat-toy>", {"t5": vectors_for("Flux.1", pipeline)["t5"]}))
    before = encode(pipeline, "a <cat-toy>")
    tinv.load_embedding(pipeline, file)
    hidden_pooled_ids = list(map(torch.equal, encode(pipeline, "a <cat-toy>"), before))
    assert hidden_pooled_ids == [False, True, True]


def test_a_file_without_the_name_of_its_encoder_is_for_the_encoder_of_its_width(tmp_path):
    pipeline = build("Wan")
    file = tmp_path / "cat.bin"
    torch.save({"<cat-toy>": torch.ones(1, 24)}, file)
    assert tinv.load_embedding(pipeline, file) == ["<cat-toy>"]
    (other,) = save(tmp_path, LearnedEmbedding("<t5>", {"t5": torch.ones(1, 24)}))
    with pytest.raises(
        UserError, match=r"<t5> has vectors of width \{'t5': 24\}, but the pipeline needs \{'umt5': 24\}"
    ):
        tinv.load_embedding(pipeline, other)


def test_pixart_would_remove_the_token_as_a_tag(tmp_path):
    pipeline = build("PixArt-Sigma")
    (file,) = save(tmp_path, LearnedEmbedding("<cat-toy>", vectors_for("PixArt-Sigma", pipeline)))
    with pytest.warns(UserWarning, match="with clean_caption=False: otherwise it removes <cat-toy> as an HTML tag"):
        tinv.load_embedding(pipeline, file)
