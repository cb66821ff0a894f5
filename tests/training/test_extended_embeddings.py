"""Vectors per timestep stage and per U-Net layer, compared with ordinary embeddings in training and sampling."""

import warnings
from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor, SlicedAttnProcessor

from tests.resuming import run_and_resume
from tests.tiny import fit, gradient, tiny_data, tiny_model, tiny_module, tiny_pipeline, weights
from tinv.embeddings import EmbeddingConfig
from tinv.errors import UserError
from tinv.models import load
from tinv.models.conditioning import encode_all_parts, layers_of, route_by_timestep
from tinv.models.runtime import compile_denoiser
from tinv.models.sampling import sample_pixels
from tinv.seeding import normal_pair
from tinv.token_parts import SlotLayout, part_of
from tinv.training.callbacks import CheckLearning
from tinv.training.callbacks.check_learning import NotLearningError

STAGES = 5
STAGED, LAYERED = {"timestep_stages": STAGES}, {"per_layer": True}
FAST = {"seeds": [1, 2], "num_inference_steps": 4, "guidance_scale": 3.0}
PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]
kinds = pytest.mark.parametrize("kind", [STAGED, LAYERED], ids=["per_timestep", "per_layer"])


def randomized(model, **options):
    """A module whose parts have different vectors."""
    module = tiny_module(model, **options)
    torch.nn.init.normal_(weights(module), generator=torch.Generator().manual_seed(3))
    return module


@kinds
@pytest.mark.parametrize("num_vectors", [1, 3])
def test_equal_parts_have_the_loss_and_the_summed_gradient_of_an_ordinary_embedding(model, batch, kind, num_vectors):
    plain, extended = tiny_module(model, num_vectors=num_vectors), tiny_module(model, num_vectors=num_vectors, **kind)
    losses, expected = gradient(plain, batch)
    extended_losses, by_part = gradient(extended, batch)
    torch.testing.assert_close(
        extended_losses, losses, rtol=0 if kind is STAGED else None, atol=0 if kind is STAGED else None
    )
    by_part = by_part.view(-1, num_vectors, by_part.shape[-1])
    torch.testing.assert_close(by_part.sum(dim=0), expected)
    assert kind is STAGED or (by_part != 0).any(dim=2).all()


@kinds
def test_samples_of_equal_parts_are_those_of_an_ordinary_embedding(model, kind):
    modules = tiny_module(model, num_vectors=2), tiny_module(model, num_vectors=2, **kind), randomized(model, **kind)
    plain, equal, different = (sample_pixels(model, PROMPTS, module.export_vectors(), **FAST) for module in modules)
    torch.testing.assert_close(plain, equal, atol=1e-4, rtol=0)
    assert (plain[0] - different[0]).abs().max() > 0.01
    torch.testing.assert_close(plain[1], different[1], atol=1e-4, rtol=0)
    assert not model.unet._forward_pre_hooks


@pytest.mark.parametrize(
    ("options", "others", "message"),
    [
        (
            {"timestep_stages": 3, "ema": 0.9},
            {"num_vectors": 3, "ema": 0.9},
            "each of 3 stages .* and is ",
        ),
        ({"per_layer": True}, {"timestep_stages": 4}, "each of 4 layers .* and is .*each of 4 stages"),
    ],
)
def test_resumed_run_is_bit_identical_and_must_have_the_same_parts(model, tmp_path, options, others, message):
    data = tiny_data(tmp_path / "data", model)
    run = run_and_resume(partial(tiny_module, model, **options), data, tmp_path, at=3, max_steps=6)
    run.assert_equal()
    first, *remaining = run.uninterrupted.export_vectors()["<cat-toy>"].values()
    assert not any(torch.equal(first, other) for other in remaining)
    with pytest.raises(UserError, match=message):
        fit(tiny_module(model, **others), data, resume=run.checkpoint)


def test_stages_layers_and_sdxl_do_not_go_together():
    with pytest.raises(UserError, match=r"timestep_stages.*per_layer"):
        EmbeddingConfig(timestep_stages=2, per_layer=True)
    EmbeddingConfig(per_layer=True).check_model(["clip_l"], has_unet=True)
    with pytest.raises(UserError, match="SDXL"):
        EmbeddingConfig(per_layer=True).check_model(["clip_l", "clip_g"], has_unet=True)


# --- per timestep ---------------------------------------------------------------------------------------------------


def test_loss_of_a_sample_depends_on_the_vectors_of_its_own_stage_alone(model, batch):
    module = randomized(model, **STAGED)
    stages = model.noise_process.timesteps(batch.level) // 200
    assert len(stages.unique()) > 3
    for number, loss in enumerate(module.losses(batch)):
        (grad,) = torch.autograd.grad(loss, weights(module), retain_graph=True)
        assert grad.ne(0).any(dim=1).nonzero().flatten().tolist() == [stages[number]]


def test_unet_gets_the_same_features_in_training_and_in_sampling(model, batch):
    """Training encodes each caption for its timestep; sampling encodes all stages, and a hook on the U-Net chooses."""
    module = randomized(model, **STAGED)
    conditioning = encode_all_parts(model, batch.captions, module.export_vectors(), SlotLayout(STAGES))
    assert conditioning.hidden.shape[-1] == STAGES * 32
    t = model.noise_process.timesteps(batch.level)
    posterior, noise = normal_pair(batch.noise_seeds.tolist(), batch.moments[0].chunk(2)[0].shape)
    clean = model.sample_latents(batch.moments, posterior)
    a = model.noise_process.alphas_cumprod[t].view(-1, 1, 1, 1)
    with route_by_timestep(model.unet, STAGES, 0, 1000):
        predicted = model.predict(a.sqrt() * clean + (1 - a).sqrt() * noise, t, conditioning, batch.geometry)
    torch.testing.assert_close((predicted - noise).square().mean(dim=(1, 2, 3)), module.losses(batch))


def test_each_sampling_step_uses_the_stage_of_its_timestep(model, monkeypatch):
    module, calls, forward = randomized(model, **STAGED), [], model.unet.forward

    def record(sample, timestep, encoder_hidden_states, **options):
        calls.append((int(timestep), encoder_hidden_states[1:]))
        return forward(sample, timestep, encoder_hidden_states, **options)

    monkeypatch.setattr(model.unet, "forward", record)
    sample_pixels(model, PROMPTS[:1], module.export_vectors(), seeds=[1], num_inference_steps=7)
    assert len({t * STAGES // 1000 for t, _ in calls}) == STAGES
    for t, hidden in calls:
        stage = {"clip_l": weights(module).detach()[t * STAGES // 1000][None]}
        torch.testing.assert_close(hidden, model.encode_text(PROMPTS[:1], {"<cat-toy>": stage}).hidden)


def test_stages_without_a_sample_yet_are_not_reported_as_stuck(model, tmp_path):
    module = tiny_module(model, timestep_stages=30)
    start = weights(module).detach().clone()
    fit(module, tiny_data(tmp_path, model, batch_size=1), 2, callbacks=[CheckLearning(after_steps=2)])
    assert 1 <= (weights(module) != start).any(dim=1).sum() <= 2


# --- per layer ------------------------------------------------------------------------------------------------------


def test_layers_are_the_cross_attentions_in_the_order_of_the_forward_pass(model):
    names = layers_of(model.unet)
    assert [name.partition(".attentions")[0] for name in names] == ["down_blocks.1", "mid_block", *["up_blocks.0"] * 2]
    assert all(isinstance(model.unet.get_submodule(name), Attention) for name in names)
    with torch.device("meta"):  # Stable Diffusion 1 has the sixteen of the papers
        names = layers_of(UNet2DConditionModel(cross_attention_dim=768))
    assert [name.removesuffix(".transformer_blocks.0.attn2").replace(".attentions.", " ") for name in names] == [
        *(f"down_blocks.{block} {number}" for block in (0, 1, 2) for number in (0, 1)),
        "mid_block 0",
        *(f"up_blocks.{block} {number}" for block in (1, 2, 3) for number in (0, 1, 2)),
    ]


def test_each_layer_gets_the_features_of_its_own_vectors(model, batch):
    module, inputs = randomized(model, **LAYERED), {}

    def record(name):
        return lambda layer, args, kwargs, output: inputs.__setitem__(name, kwargs["encoder_hidden_states"])

    handles = [
        model.unet.get_submodule(name).register_forward_hook(record(name), with_kwargs=True)
        for name in layers_of(model.unet)
    ]
    module.losses(batch)
    for handle in handles:
        handle.remove()
    for name, vectors in module.export_vectors()["<cat-toy>"].items():
        expected = model.encode_text(batch.captions, {"<cat-toy>": {"clip_l": vectors}}).hidden
        torch.testing.assert_close(inputs.pop(part_of(name)), expected)
    assert not inputs


def test_routing_by_layer_does_not_change_later_ordinary_embeddings(tmp_path, batch):
    model = tiny_model(tmp_path)
    before = gradient(tiny_module(model), batch)
    randomized(model, **LAYERED).losses(batch)
    assert all(map(torch.equal, before, gradient(tiny_module(model), batch)))


def test_gradient_checkpointing_recomputes_each_layer_with_its_own_features(tmp_path, batch):
    folder = str(tiny_pipeline(tmp_path))
    modules = [randomized(load(folder, gradient_checkpointing=flag), **LAYERED) for flag in (False, True)]
    assert all(map(torch.equal, *(gradient(module, batch) for module in modules)))


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)], ids=["plain", "sliced"])
def test_routing_by_layer_works_with_every_attention_processor(tmp_path, batch, processor):
    module = randomized(tiny_model(tmp_path), **LAYERED)
    expected = gradient(module, batch)
    module.model.unet.set_attn_processor(processor)
    torch.testing.assert_close(gradient(module, batch), expected)
    by_layer = expected[1].view(len(layers_of(module.model.unet)), -1)
    assert not torch.allclose(by_layer[0], by_layer[1])


def test_merged_micro_batches_teach_what_single_ones_do(model, tmp_path):
    modules = [tiny_module(model, **LAYERED, merge_batches=merge) for merge in (False, True)]
    for module in modules:
        fit(module, tiny_data(tmp_path, model), accumulate_grad_batches=2)
    torch.testing.assert_close(*map(weights, modules), atol=2e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_layers_without_a_gradient_are_reported(tmp_path):
    model = tiny_model(tmp_path / "model")
    names, data = layers_of(model.unet), tiny_data(tmp_path / "data", model)

    def learn():
        fit(tiny_module(model, **LAYERED), data, callbacks=[CheckLearning(after_steps=2)])

    model.unet.get_submodule(names[1]).to_v.weight.data.zero_()
    with pytest.warns(UserWarning, match=names[1]):
        learn()
    for name in names:
        model.unet.get_submodule(name).to_v.weight.data.zero_()
    with pytest.raises(NotLearningError, match="clip_l"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learn()


@pytest.mark.slow
def test_compiled_unet_gives_each_layer_its_own_features(tmp_path, batch, monkeypatch):
    """Compiling for an ordinary embedding first must not change the result. Code generation is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    folder = str(tiny_pipeline(tmp_path))
    plain, compiled = load(folder), load(folder)
    compile_denoiser(compiled.unet)
    for make in (tiny_module, partial(randomized, **LAYERED)):
        torch.testing.assert_close(gradient(make(compiled), batch), gradient(make(plain), batch))
