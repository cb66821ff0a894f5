"""The LightningModule: gradients, precisions, validation, resuming, and that everything else stays frozen."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.optimization import get_linear_schedule_with_warmup

from tests.resuming import run_and_resume
from tests.tiny import exported, fit, tiny_data, tiny_model, tiny_module, tiny_pipeline, tiny_trainer, weights
from tinv.diffusion.loss import DiffusionLoss
from tinv.errors import UserError
from tinv.models import load
from tinv.models.text_encoder import PromptTokenizer


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("data"), model)


def first_batch(data):
    return next(iter(data.val_dataloader()))


def val_loss(module, data):
    return tiny_trainer().validate(module, data, verbose=False)[0]["val/loss"]


@pytest.mark.parametrize("num_vectors", [1, 4])
def test_gradient_is_bit_identical_to_training_the_full_embedding_table(model, data, num_vectors):
    module, batch = tiny_module(model, num_vectors=num_vectors), first_batch(data)
    loss = module.losses(batch).mean()
    loss.backward()

    lookup, encoder = model.text_encoders["clip_l"].token_lookup, copy.deepcopy(model.text_encoder)
    table = torch.cat([lookup.weight, weights(module).detach()]).requires_grad_()
    encoder.set_input_embeddings(_Table(table))
    generators = [torch.Generator().manual_seed(seed) for seed in batch.noise_seeds.tolist()]
    posterior, noise = torch.stack([torch.randn(2, 4, 16, 16, generator=generator) for generator in generators], dim=1)
    scheduler = DDPMScheduler.from_config(model.scheduler.config)
    mean, logvar = batch.moments.chunk(2, dim=1)
    clean = (mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * posterior) * model.vae.config.scaling_factor
    t = (batch.level * 1000).long()
    tokenizer = PromptTokenizer(model.tokenizer, num_embeddings=lookup.num_embeddings)
    hidden = encoder(tokenizer.ids(batch.captions, {"<cat-toy>": num_vectors})).last_hidden_state
    errors = F.mse_loss(model.unet(scheduler.add_noise(clean, noise, t), t, hidden).sample, noise, reduction="none")
    expected = errors.mean(dim=(1, 2, 3)).mean()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(weights(module).grad, table.grad[lookup.num_embeddings :])
    assert (weights(module).grad != 0).any(dim=1).all()


class _Table(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, ids):
        return F.embedding(ids, self.weight)


def test_60_steps_with_weight_decay_change_only_the_vectors(tmp_path):
    """The reference script decays the whole vocabulary, and copies it back at every micro-step."""
    model = tiny_model(tmp_path / "model")
    before = {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    module = tiny_module(model, num_vectors=2, optimizer=partial(torch.optim.AdamW, lr=5e-3, weight_decay=1e-2))
    start = exported(module)
    fit(module, tiny_data(tmp_path / "data", model), 60, val_check_interval=30)
    after = dict([*model.named_parameters(), *model.named_buffers()])
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = exported(module) - start
    assert (moved.abs().amax(dim=1) > 1e-2).all()
    assert not torch.equal(moved[0], moved[1])


def test_only_the_vectors_are_optimized_and_saved_and_the_model_stays_in_eval_mode(model, data):
    """The reference script optimizes, reduces and saves the whole vocabulary."""
    module = tiny_module(model, num_vectors=2)
    (group,) = fit(module, data, 1).optimizers[0].param_groups
    assert [tuple(parameter.shape) for parameter in group["params"]] == [(2, 32)]
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes == {"0.embedding.weights.clip_l": (2, 32)}
    module.train()
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_vectors_learn_in_float32_under_every_precision(tmp_path, precision):
    model = tiny_model(tmp_path / "model")
    module = tiny_module(model)
    start = exported(module)
    fit(module, tiny_data(tmp_path / "data", model), precision=precision)
    learned = weights(module).detach()
    assert learned.dtype == torch.float32
    assert not torch.equal(learned.bfloat16().float(), learned)
    assert not torch.equal(learned, start)


def test_prediction_type_is_that_of_the_models_scheduler(tmp_path):
    models = [load(str(tiny_pipeline(tmp_path / kind, prediction_type=kind))) for kind in ("epsilon", "v_prediction")]
    batch = first_batch(tiny_data(tmp_path / "data", models[0]))
    assert not torch.allclose(*(tiny_module(model).losses(batch) for model in models))


def test_val_loss_does_not_depend_on_the_seed_or_change_the_global_generator(model, data):
    state = torch.get_rng_state()
    assert val_loss(tiny_module(model, seed=0), data) == val_loss(tiny_module(model, seed=1), data)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("loss", [DiffusionLoss(snr_gamma=5.0), DiffusionLoss(snr_power=0.5)])
def test_val_loss_is_unweighted_whatever_loss_is_trained_with(model, data, loss):
    plain, weighted = tiny_module(model), tiny_module(model, loss=loss)
    assert val_loss(plain, data) == val_loss(weighted, data)
    for module in (plain, weighted):
        fit(module, data)
    assert not torch.equal(exported(plain), exported(weighted))


@pytest.mark.parametrize("interval", [2, 3, 100])
def test_last_val_loss_is_that_of_the_final_vectors(model, data, interval):
    module = tiny_module(model)
    trainer = fit(module, data, 5, val_check_interval=interval)
    assert trainer.callback_metrics["val/loss"].item() == val_loss(module, data)


@pytest.mark.parametrize(("trainer", "settings"), [({"val_check_interval": 1}, {}), ({}, {"num_workers": 2})])
def test_validation_interval_and_workers_do_not_change_the_vectors(model, data, tmp_path, trainer, settings):
    modules = tiny_module(model), tiny_module(model)
    fit(modules[0], data)
    fit(modules[1], tiny_data(tmp_path, model, **settings), **trainer)
    assert torch.equal(*map(exported, modules))


def test_accumulated_micro_batches_equal_one_large_batch(model, tmp_path):
    learned = []
    for batch_size, accumulate in ((4, 1), (2, 2), (1, 4)):
        module = tiny_module(model)
        fit(module, tiny_data(tmp_path, model, batch_size=batch_size), accumulate_grad_batches=accumulate)
        assert module.global_step == 4
        learned.append(exported(module))
    torch.testing.assert_close(learned[0], learned[1], atol=2e-5, rtol=0)
    torch.testing.assert_close(learned[0], learned[2], atol=2e-5, rtol=0)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_run_is_bit_identical(model, tmp_path, workers, accumulate):
    scheduler = partial(get_linear_schedule_with_warmup, num_warmup_steps=2, num_training_steps=7)
    data = tiny_data(tmp_path / "data", model, num_workers=workers, flip=True)
    trainer = {"accumulate_grad_batches": accumulate, "val_check_interval": 3}
    make = partial(tiny_module, model, num_vectors=2, scheduler=scheduler)
    run_and_resume(make, data, tmp_path, at=3, max_steps=7, **trainer).assert_equal()


def test_checkpoint_of_another_run_is_rejected_with_every_difference(model, data, tmp_path):
    fit(tiny_module(model), data, 1).save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(UserError, match=r"seed was 0 and is 5; vectors was .*\[1, 32\].* and is .*\[2, 32\]"):
        fit(tiny_module(model, num_vectors=2, seed=5), data, resume=tmp_path / "one.ckpt")
