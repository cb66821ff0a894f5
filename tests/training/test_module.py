import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.optimization import get_constant_schedule, get_linear_schedule_with_warmup

from tests.resuming import broken_off
from tests.tiny import tiny_data, tiny_model, tiny_module, tiny_pipeline, tiny_trainer
from tinv.diffusion.loss import DiffusionLoss
from tinv.errors import UserError
from tinv.models import load
from tinv.models.text_encoder import PromptTokenizer
from tinv.types import Batch


def one_batch(data) -> Batch:
    return next(iter(data.val_dataloader()))


@pytest.mark.parametrize("num_vectors", [1, 4])
def test_the_gradient_is_that_of_training_the_full_table_to_the_last_bit(model, tmp_path, num_vectors):
    module, batch = tiny_module(model, num_vectors=num_vectors), one_batch(tiny_data(tmp_path, model))
    loss = module.losses(batch).mean()
    loss.backward()
    ours = module.learned_tokens[0].embedding.weights["clip_l"].grad

    encoder = copy.deepcopy(model.text_encoder)
    full = torch.cat(
        [
            model.text_encoders["clip_l"].token_lookup.weight,
            module.learned_tokens[0].embedding.weights["clip_l"].detach(),
        ]
    ).requires_grad_()
    encoder.set_input_embeddings(_Table(full))
    streams = [torch.Generator().manual_seed(seed) for seed in batch.draws.tolist()]
    posterior, noise = torch.stack([torch.randn(2, 4, 16, 16, generator=stream) for stream in streams], dim=1)
    schedule = DDPMScheduler.from_config(model.scheduler.config)
    mean, logvar = batch.moments.chunk(2, dim=1)
    clean = (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * posterior) * model.vae.config.scaling_factor
    t = (batch.level * 1000).long()
    prompts = PromptTokenizer(model.tokenizer, num_embeddings=model.text_encoders["clip_l"].token_lookup.num_embeddings)
    ids = prompts.ids(batch.captions, {"<cat-toy>": num_vectors})
    hidden = encoder(ids).last_hidden_state
    theirs = F.mse_loss(model.unet(schedule.add_noise(clean, noise, t), t, hidden).sample, noise, reduction="none")
    theirs = theirs.mean(dim=(1, 2, 3)).mean()
    theirs.backward()
    assert torch.equal(loss, theirs)
    assert torch.equal(ours, full.grad[model.text_encoders["clip_l"].token_lookup.num_embeddings :])
    assert (ours != 0).any(dim=1).all()


class _Table(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, ids):
        return F.embedding(ids, self.weight)


def test_after_60_steps_with_weight_decay_everything_else_is_as_it_was(tmp_path):
    """E-12, E-18: the reference script decays every word, and copies all of them back at every micro-step."""
    model = tiny_model(tmp_path / "model")
    before = {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    module = tiny_module(model, num_vectors=2, optimizer=partial(torch.optim.AdamW, lr=5e-3, weight_decay=1e-2))
    start = module.export_vectors()["<cat-toy>"]["clip_l"]
    tiny_trainer(max_steps=60, val_check_interval=30).fit(module, tiny_data(tmp_path / "data", model))
    assert module.global_step == 60
    after = dict([*model.named_parameters(), *model.named_buffers()])
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = module.export_vectors()["<cat-toy>"]["clip_l"] - start
    assert (moved.abs().amax(dim=1) > 1e-2).all()
    assert not torch.equal(moved[0], moved[1])


def test_only_the_rows_are_optimized_and_saved(model, tmp_path):
    """E-11, E-14: the reference script optimizes, reduces and saves the whole vocabulary."""
    module = tiny_module(model, num_vectors=2)
    loop = tiny_trainer(max_steps=1)
    loop.fit(module, tiny_data(tmp_path, model))
    (group,) = loop.optimizers[0].param_groups
    assert [tuple(parameter.shape) for parameter in group["params"]] == [(2, 32)]
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {
        "embedding.weights.clip_l": (2, 32)
    }


def test_lightning_cannot_put_the_frozen_model_into_training_mode(model, tmp_path):
    module = tiny_module(model)
    tiny_trainer(max_steps=1).fit(module, tiny_data(tmp_path, model))
    module.train()
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_rows_learn_in_float32_under_every_precision(tmp_path, precision):
    model = tiny_model(tmp_path / "model")
    module = tiny_module(model)
    start = module.export_vectors()["<cat-toy>"]["clip_l"]
    tiny_trainer(precision=precision).fit(module, tiny_data(tmp_path / "data", model))
    rows = module.learned_tokens[0].embedding.weights["clip_l"]
    assert rows.dtype == torch.float32
    assert not torch.equal(rows.detach().bfloat16().float(), rows.detach())
    assert not torch.equal(rows.detach(), start)


def test_v_prediction_is_taken_from_the_models_own_schedule(tmp_path):
    folders = [tiny_pipeline(tmp_path / kind, prediction_type=kind) for kind in ("epsilon", "v_prediction")]
    models = [load(str(folder)) for folder in folders]
    batch = one_batch(tiny_data(tmp_path / "data", models[0]))
    losses = [tiny_module(model).losses(batch) for model in models]
    assert not torch.allclose(*losses)


def test_val_loss_is_the_same_for_the_same_embedding_and_disturbs_nothing(model, tmp_path):
    data = tiny_data(tmp_path, model)
    state = torch.get_rng_state()
    values = [
        tiny_trainer().validate(module, data, verbose=False)[0]["val/loss"]
        for module in (tiny_module(model, seed=0), tiny_module(model, seed=1))
    ]
    assert values[0] == values[1]
    assert torch.equal(state, torch.get_rng_state())


def test_validating_often_or_never_learns_the_same_rows(model, tmp_path):
    data = tiny_data(tmp_path, model)
    learned = []
    for interval in (1, 4):
        module = tiny_module(model)
        tiny_trainer(val_check_interval=interval).fit(module, data)
        learned.append(module.export_vectors()["<cat-toy>"]["clip_l"])
    assert torch.equal(*learned)


@pytest.mark.parametrize("interval", [2, 3, 100])
def test_val_loss_at_the_end_is_that_of_the_learned_rows(model, tmp_path, interval):
    data, module, runner = (
        tiny_data(tmp_path, model),
        tiny_module(model),
        tiny_trainer(max_steps=5, val_check_interval=interval),
    )
    runner.fit(module, data)
    at_the_end = runner.callback_metrics["val/loss"].item()
    assert at_the_end == tiny_trainer().validate(module, data, verbose=False)[0]["val/loss"]


def test_workers_make_no_difference(model, tmp_path):
    learned = []
    for workers in (0, 2):
        module = tiny_module(model)
        tiny_trainer().fit(module, tiny_data(tmp_path, model, num_workers=workers))
        learned.append(module.export_vectors()["<cat-toy>"]["clip_l"])
    assert torch.equal(*learned)


def test_micro_batches_add_up_to_the_large_batch(model, tmp_path):
    learned = []
    for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
        module = tiny_module(model)
        data = tiny_data(tmp_path, model, batch_size=batch_size)
        tiny_trainer(accumulate_grad_batches=accumulate).fit(module, data)
        assert module.global_step == 4
        learned.append(module.export_vectors()["<cat-toy>"]["clip_l"])
    torch.testing.assert_close(learned[0], learned[1], atol=2e-5, rtol=0)
    torch.testing.assert_close(learned[0], learned[2], atol=2e-5, rtol=0)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_is_the_uninterrupted_run_to_the_last_bit(model, tmp_path, workers, accumulate):
    scheduler = partial(get_linear_schedule_with_warmup, num_warmup_steps=2, num_training_steps=7)
    data = tiny_data(tmp_path / "data", model, num_workers=workers, flip=True)
    run = broken_off(
        lambda: tiny_module(model, num_vectors=2, scheduler=scheduler),
        data,
        tmp_path,
        at=3,
        of=7,
        accumulate_grad_batches=accumulate,
        val_check_interval=3,
    )
    assert torch.equal(
        run.whole.export_vectors()["<cat-toy>"]["clip_l"], run.resumed.export_vectors()["<cat-toy>"]["clip_l"]
    )


def test_a_checkpoint_of_another_run_is_refused_with_every_difference(model, tmp_path):
    data = tiny_data(tmp_path / "data", model)
    module, runner = tiny_module(model), tiny_trainer(max_steps=1)
    runner.fit(module, data)
    runner.save_checkpoint(tmp_path / "one.ckpt")
    other = tiny_module(model, num_vectors=2, seed=5)
    with pytest.raises(UserError, match=r"seed was 0 and is 5; vectors was .*\[1, 32\].* and is .*\[2, 32\]"):
        tiny_trainer().fit(other, data, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


@pytest.mark.parametrize("loss", [DiffusionLoss(snr_gamma=5.0), DiffusionLoss(snr_power=0.5)])
def test_val_loss_is_the_published_one_under_every_objective(model, tmp_path, loss):
    data, found = tiny_data(tmp_path, model), []
    for chosen in (DiffusionLoss(), loss):
        runner = tiny_trainer()
        found.append(runner.validate(tiny_module(model, loss=chosen), data, verbose=False)[0]["val/loss"])
    assert found[0] == found[1]


def test_min_snr_learns_something_else(model, tmp_path):
    data, learned = tiny_data(tmp_path, model), []
    for gamma in (None, 5.0):
        module = tiny_module(model, loss=DiffusionLoss(snr_gamma=gamma), scheduler=get_constant_schedule)
        tiny_trainer().fit(module, data)
        learned.append(module.export_vectors()["<cat-toy>"]["clip_l"])
    assert not torch.equal(*learned)
