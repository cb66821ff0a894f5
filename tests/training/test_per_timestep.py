"""Rows for each stage of the noise schedule: the laws that hold them to ordinary rows, in training and in drawing."""

import pytest
import torch

from tests.resuming import broken_off
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.diffusion.process import timesteps
from tinv.errors import UserError
from tinv.models.conditioning import encode_all_parts, route_by_timestep
from tinv.models.sampling import sample_pixels
from tinv.seeding import normal_pair
from tinv.token_parts import SlotLayout
from tinv.training.callbacks import CheckLearning

STAGES = 5
FAST = {"seeds": [1, 2], "num_inference_steps": 4, "guidance_scale": 3.0}
PROMPTS = ["a photo of a <cat-toy> on the beach", "a red dog"]


def rows_of(module):
    return module.learned_tokens[0].embedding.weights["clip_l"]


def apart(model, **options):
    """A module whose stages have drifted apart."""
    module = tiny_module(model, timestep_stages=STAGES, **options)
    torch.nn.init.normal_(rows_of(module), generator=torch.Generator().manual_seed(3))
    return module


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_equal_stages_are_ordinary_rows_and_their_gradients_add_up_to_theirs(model, batch, num_vectors):
    plain, staged = (tiny_module(model, num_vectors=num_vectors, timestep_stages=stages) for stages in (1, STAGES))
    losses = [module.losses(batch) for module in (plain, staged)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.mean().backward()
    by_stage = rows_of(staged).grad.view(STAGES, num_vectors, -1)
    torch.testing.assert_close(by_stage.sum(dim=0), rows_of(plain).grad)


def test_a_sample_is_a_function_of_the_rows_of_its_own_stage_alone(model, batch):
    module = apart(model)
    stages = timesteps(batch.level, 1000) // 200
    assert len(stages.unique()) > 3
    for number, loss in enumerate(module.losses(batch)):
        (gradient,) = torch.autograd.grad(loss, rows_of(module), retain_graph=True)
        assert gradient.ne(0).any(dim=1).nonzero().flatten().tolist() == [stages[number]]


def test_training_and_drawing_tell_the_unet_the_same(model, batch):
    """The one encodes each caption for its own timestep, the other for all, and lets the U-Net choose."""
    module = apart(model)
    expected = module.losses(batch)
    told = encode_all_parts(model, batch.captions, module.export_vectors(), SlotLayout(STAGES))
    assert told.hidden.shape[-1] == STAGES * 32
    t = timesteps(batch.level, 1000)
    posterior, noise = normal_pair(batch.noise_seeds.tolist(), batch.moments[0].chunk(2)[0].shape)
    clean = model.sample_latents(batch.moments, posterior)
    a = model.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    with route_by_timestep(model.unet, STAGES, 1000):
        predicted = model.predict(a.sqrt() * clean + (1 - a).sqrt() * noise, t, told, batch.geometry)
    torch.testing.assert_close((predicted - noise).square().mean(dim=(1, 2, 3)), expected)


def test_pictures_of_equal_stages_are_those_of_ordinary_rows_and_the_unet_is_as_before(model):
    plain, staged = tiny_module(model, num_vectors=2), tiny_module(model, num_vectors=2, timestep_stages=STAGES)
    pictures = [sample_pixels(model, PROMPTS, module.export_vectors(), **FAST) for module in (plain, staged)]
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)
    assert not model.unet._forward_pre_hooks


def test_at_each_step_of_drawing_the_unet_hears_the_stage_of_its_timestep(model, monkeypatch):
    module, heard, forward = apart(model), [], model.unet.forward

    def listening(sample, timestep, encoder_hidden_states, **options):
        heard.append((int(timestep), encoder_hidden_states[1:]))
        return forward(sample, timestep, encoder_hidden_states, **options)

    monkeypatch.setattr(model.unet, "forward", listening)
    sample_pixels(model, PROMPTS[:1], module.export_vectors(), seeds=[1], num_inference_steps=7)
    assert len({t * STAGES // 1000 for t, _ in heard}) == STAGES
    for t, hidden in heard:
        part = {"clip_l": rows_of(module).detach()[t * STAGES // 1000][None]}
        torch.testing.assert_close(hidden, model.encode_text(PROMPTS[:1], {"<cat-toy>": part}).hidden)


def test_a_resumed_run_is_the_uninterrupted_run_to_the_last_bit(model, tmp_path):
    data = tiny_data(tmp_path / "data", model)
    run = broken_off(lambda: tiny_module(model, timestep_stages=3, ema=0.9), data, tmp_path, at=3, of=6)
    before, after = (module.export_vectors()["<cat-toy>"] for module in (run.whole, run.resumed))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(before["clip_l/stage.0"], before["clip_l/stage.2"])
    other = tiny_module(model, num_vectors=3, ema=0.9)
    with pytest.raises(
        UserError, match="rows was 'for each of 3 stages of the noise schedule' and is 'for every place"
    ):
        tiny_trainer().fit(other, data, ckpt_path=run.checkpoint, weights_only=True)


def test_stages_that_had_no_sample_yet_are_not_stuck(model, tmp_path):
    module = tiny_module(model, timestep_stages=30)
    trainer = tiny_trainer(max_steps=2, callbacks=[CheckLearning(after_steps=2)])
    trainer.fit(module, tiny_data(tmp_path, model, batch_size=1))
    moved = (rows_of(module) != tiny_module(model, timestep_stages=30).words[0].embedding.weights["clip_l"]).any(dim=1)
    assert 1 <= moved.sum() <= 2
