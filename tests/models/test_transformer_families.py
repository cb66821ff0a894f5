"""The laws of every family without a U-Net; tests/models/published_transformers.py has an entry for each."""

import copy
from inspect import signature

import pytest
import torch
from omegaconf import OmegaConf

from tests.models.published_transformers import (
    TRANSFORMERS,
    prompt_with_rows,
    random_rows,
    with_rows,
)
from tests.tiny import RESOLUTION, fit, tiny_data, tiny_module
from tinv import formats
from tinv.cli import main
from tinv.config.validate import ConfigError
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.models import LatentDiffusion, load
from tinv.models.check_fit import check_fit
from tinv.models.runtime import checkpoint_activations
from tinv.models.sampling import generate_images
from tinv.training.preflight import preflight
from tinv.training.run import train

PROMPT = "a photo of a <cat-toy> on the beach"
FAST = {"num_inference_steps": 3, "guidance_scale": 2.0}
CPU = torch.device("cpu")


@pytest.fixture(params=TRANSFORMERS)
def name(request):
    return request.param


@pytest.fixture
def model(model_of_family, name):
    return model_of_family(name)


def components_of(pipeline, name):
    """The components of a pipeline that a model needs."""
    family = TRANSFORMERS[name].family
    return {part: getattr(pipeline, part) for part in (*family.tokenizers, *family.modules, "scheduler")}


def table_of(pipeline, name, *, rows):
    """A model of a pipeline whose tables contain the rows, and the ids of the rows in each."""
    model = LatentDiffusion(TRANSFORMERS[name].family, components_of(pipeline, name), name="tables")
    ids = {
        role: tokenizer.convert_tokens_to_ids([f"<cat-toy>{f'_{k}' if k else ''}" for k in range(len(rows[role]))])
        for role, tokenizer in model.tokenizers.items()
    }
    return model, ids


def test_the_files_decide_the_family(model, name):
    assert model.family.title == TRANSFORMERS[name].family.title
    assert {role: table.shape[1] for role, table in model.tables.items()} == TRANSFORMERS[name].widths
    assert model.noise_process.prediction_type == TRANSFORMERS[name].prediction_type and model.resolution == RESOLUTION


def test_gradients_are_those_of_training_the_whole_tables(model, name, tmp_path):
    """To the last bit: a batch's loss through the rows, and through tables that contain them."""
    rows = random_rows(name)
    (batch,) = tiny_data(tmp_path, model, batch_size=4, val_draws=4).val_dataloader()
    module = tiny_module(model, num_vectors=2)
    weights = module.learned_tokens[0].embedding.weights
    for role, vectors_KD in weights.items():
        vectors_KD.data.copy_(rows[role])
    expected, ids = table_of(with_rows(name, rows), name, rows=rows)
    tables = {role: encoder.token_lookup.weight for role, encoder in expected.text_encoders.items()}
    for table in tables.values():
        table.requires_grad_()
    in_tables = copy.copy(batch)
    in_tables.captions = [prompt_with_rows(name, caption, 2) for caption in batch.captions]
    losses = module.losses(batch), tiny_module(expected).losses(in_tables, vectors={"<other>": {}})
    assert torch.equal(*losses)
    for loss in losses:
        loss.mean().backward()
    for role, vectors_KD in weights.items():
        assert vectors_KD.grad.ne(0).any(dim=1).all()
        assert torch.equal(vectors_KD.grad, tables[role].grad[ids[role]])


def test_gradient_checkpointing_changes_no_bit(model, tmp_path):
    """Masks reach the layers that run again, too."""
    checkpointed = copy.deepcopy(model)
    checkpoint_activations(checkpointed)
    (batch,) = tiny_data(tmp_path, model, batch_size=2, val_draws=2).val_dataloader()
    results = []
    for each in (model, checkpointed):
        module = tiny_module(each)
        losses = module.losses(batch)
        losses.mean().backward()
        results.append([losses, *(vectors_KD.grad for vectors_KD in module.learned_tokens.parameters())])
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("count", [1, 2])
def test_images_are_those_of_the_plain_pipeline(model, name, count):
    """With the rows put in by hand, pixel for pixel; with and without a negative prompt."""
    rows = random_rows(name, count)
    pipeline = with_rows(name, rows)
    pipeline.set_progress_bar_config(disable=True)
    length = model.family.sequence_length([*model.tokenizers.values()][-1])
    for negative in ("", "a red dog"):
        (image,) = generate_images(model, [PROMPT], {"<cat-toy>": rows}, seeds=[5], negative_prompt=negative, **FAST)
        is_true_guidance = negative or not model.is_guidance_distilled
        guidance, parameters = {"guidance_scale": 2.0}, signature(pipeline.__call__).parameters
        if "negative_prompt" in parameters:
            guidance["negative_prompt"] = negative
        else:
            guidance["negative_prompt_embeds"] = pipeline.encode_prompt(negative, max_sequence_length=length)[0]
        if "true_cfg_scale" in parameters:
            guidance |= {"true_cfg_scale": 2.0, "guidance_scale": 1.0}
        theirs = pipeline(
            prompt=prompt_with_rows(name, PROMPT, count),
            generator=torch.Generator().manual_seed(5),
            num_inference_steps=3,
            max_sequence_length=length,
            height=RESOLUTION,
            width=RESOLUTION,
            **TRANSFORMERS[name].call_options,
            **(guidance if is_true_guidance else {"guidance_scale": 2.0}),
        ).images[0]
        assert image.tobytes() == theirs.tobytes()


def test_three_steps_change_every_vector_and_no_frozen_weight(model, name, tmp_path):
    before = {key: value.clone() for key, value in {**model.state_dict(), **model.vae.state_dict()}.items()}
    module = tiny_module(model, num_vectors=2)
    start = module.export_vectors()["<cat-toy>"]
    fit(module, tiny_data(tmp_path, model), max_steps=3)
    for role, vectors_KD in module.export_vectors()["<cat-toy>"].items():
        assert vectors_KD.shape[1] == TRANSFORMERS[name].widths[role] and vectors_KD.ne(start[role]).any(dim=1).all()
    after = {**model.state_dict(), **model.vae.state_dict()}
    assert all(torch.equal(before[key], value) for key, value in after.items())


def test_an_overlearned_image_loses_a_third_of_its_loss(model, tmp_path):
    (batch,) = tiny_data(tmp_path, model, batch_size=2, val_draws=2).val_dataloader()
    module = tiny_module(model, num_vectors=4, init_noise=0.3)
    optimizer = torch.optim.AdamW(module.learned_tokens.parameters(), lr=0.1)
    first = module.losses(batch).mean().item()
    for _ in range(200):
        loss = module.losses(batch).mean()
        if loss < 2 / 3 * first:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss fell from {first:.2f} to {loss.item():.2f} only")


@pytest.mark.parametrize(
    "name", [name for name, family in TRANSFORMERS.items() if len(family.widths) > 1], indirect=True
)
def test_an_encoder_without_vectors_reads_the_placeholder_as_text(model, name):
    others = [*TRANSFORMERS[name].widths][1:]
    rows = random_rows(name, 1)
    text = model.encode_text([PROMPT], {"<cat-toy>": {role: rows[role] for role in others}})
    pipeline = with_rows(name, {role: rows[role] for role in others})
    expected = LatentDiffusion(model.family, components_of(pipeline, name), name="tables").encode_text([PROMPT], {})
    assert torch.equal(text.hidden, expected.hidden)
    assert text.pooled is None or torch.equal(text.pooled, expected.pooled)


def test_whole_words_alone_are_placeholders(model, name):
    """An added token would match inside other words, too."""
    rows = {"sks": random_rows(name)}
    with_word, without, plain = (
        model.encode_text([text], vectors).hidden
        for text, vectors in (("a sks photo", rows), ("a asks photo", rows), ("a asks photo", {}))
    )
    assert torch.equal(without, plain) and not torch.equal(with_word, plain)


def test_a_cut_off_token_is_refused_with_both_numbers(model, name):
    caption = "a photo of " * model.family.max_sequence_length + "<cat-toy>"
    with pytest.raises(
        UserError, match=r"2 learned vectors are cut off\. The caption .* has \d{3,} tokens, but .* reads"
    ):
        model.encode_text([caption], {"<cat-toy>": random_rows(name)})


def test_a_token_is_learned_with_other_vectors_for_each_timestep(model, name, tmp_path):
    """Each stage's samples use its own vectors; equal vectors draw the image of an ordinary token."""
    module = tiny_module(model, timestep_stages=2)
    (batch,) = tiny_data(tmp_path, model, batch_size=4, val_draws=4).val_dataloader()
    module.losses(batch).mean().backward()
    for vectors_KD in module.learned_tokens[0].embedding.parameters():
        assert vectors_KD.grad.ne(0).any(dim=1).all()
    staged, ordinary = module.export_vectors(), tiny_module(model).export_vectors()
    images = [generate_images(model, [PROMPT], vectors, seeds=[5], **FAST)[0] for vectors in (staged, ordinary)]
    assert images[0].tobytes() == images[1].tobytes()
    for role in TRANSFORMERS[name].widths:
        staged["<cat-toy>"][f"{role}/stage.1"] += 1
    assert generate_images(model, [PROMPT], staged, seeds=[5], **FAST)[0].tobytes() != images[0].tobytes()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in TRANSFORMERS], indirect=True)
def test_a_run_of_two_concepts_resumes_and_its_embedding_draws(compose_local, folder_of_family, name, tmp_path):
    concept = "+extra_concept@extra_concepts.pot=object extra_concepts.pot.concept.placeholder_token='<pot>'"
    overrides = [
        *concept.split(),
        "extra_concepts.pot.concept.initializer_token=dog",
        "extra_concepts.pot.data.folder=${data.folder}",
        "embedding.num_vectors=2",
        "data.batch_size=1",
        "trainer.accumulate_grad_batches=2",
        "callbacks.checkpoints.every_n_steps=1",
        "callbacks.samples.num_inference_steps=2",  # Qwen-Image's scheduler divides by zero if there is one
    ]
    assert train(compose_local(folder_of_family(name), *overrides)) < 100
    cfg = compose_local(folder_of_family(name), *overrides, "trainer.max_steps=3", "resume=latest")
    train(cfg)
    for learned in formats.read_all(tmp_path):
        assert {role: vectors_KD.shape[1] for role, vectors_KD in learned.vectors.items()} == TRANSFORMERS[name].widths
        assert learned.provenance["steps"] == "3"
        assert learned.provenance["prediction_type"] == TRANSFORMERS[name].prediction_type
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    command = f"generate --embedding {tmp_path} --out {tmp_path / 'drawn'} --num-inference-steps 2 --device cpu"
    assert main([*command.split(), "a {cat-toy} and a {pot}"]) == 0
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 1
    assert len(list(tmp_path.glob("concepts/*/samples/*.png"))) > 2
    assert main(["report", str(tmp_path)]) == 0
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "cat-toy" in report and "data:image" in report


def test_one_encoder_can_learn_alone(model, name, tmp_path):
    role = [*TRANSFORMERS[name].widths][-1]
    module = tiny_module(model, encoders=[role])
    (learned,) = module.learned_embeddings()
    assert [*learned.vectors] == [role]
    file, *_ = formats.write(tmp_path / "learned_embeds.safetensors", learned)
    check_fit([formats.read(file)], model)
    check_fit([LearnedEmbedding("<cat-toy>", learned.vectors)], model)
    with pytest.raises(UserError, match="learned on another kind of model"):
        check_fit([LearnedEmbedding("<cat-toy>", {"clip_h": torch.zeros(1, 1024)})], model)


def test_a_preflight_names_what_a_transformer_does_not_support(compose_local, folder_of_family, name):
    settings = [
        "loss=cosmap",
        "timestep_sampler=logsnr",
        "regularizer=context",
        "embedding=per_layer",
        "model.attention=xformers",
    ]
    with pytest.raises(ConfigError) as error:
        preflight(compose_local(folder_of_family(name), *settings))
    is_flow = TRANSFORMERS[name].prediction_type == "flow"
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "timestep_sampler=logsnr" if is_flow else "loss.weighting_scheme=cosmap",
        "model.attention=xformers",
        "embedding.per_layer=true is for Stable Diffusion 1 and 2",
        "regularizer=context",
    ]


def test_a_tokenizer_may_read_fewer_tokens_than_the_family(folder_of_family, name):
    """That of the toybox's flow model reads 64."""
    model = load(str(folder_of_family(name)))
    tokenizer = list(model.tokenizers.values())[-1]
    length = model.encode_text(["a " * 600], {}).hidden.shape[1]
    limit = model.family.sequence_length(tokenizer)
    num_own_tokens = limit - model.family.max_caption_tokens(tokenizer)
    tokenizer.model_max_length = 48
    assert length - model.encode_text(["a " * 600], {}).hidden.shape[1] == limit - 48 > 0
    assert model.family.max_caption_tokens(tokenizer) == 48 - num_own_tokens
