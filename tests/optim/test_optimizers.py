"""Every optimizer in conf/optimizer learns, and resumes to the last bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from tests.resuming import run_and_resume
from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.config.validate import CONF_DIR, build
from tinv.errors import UserError
from tinv.training.module import TextualInversion

OPTIMIZERS = {
    "adamw": ["optimizer=adamw"],
    "prodigy": ["optimizer=prodigy", "optimizer.d0=1e-4"],
    "adafactor": ["optimizer=adafactor"],
    "lion": ["optimizer=lion"],
    "schedule_free": ["optimizer=schedule_free", "optimizer.warmup_steps=3"],
}
"""The overrides with which 20 steps are enough."""
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("images"), model, batch_size=1, val_draws=8)


@pytest.fixture
def factory(compose) -> Callable[..., Any]:
    return lambda optimizer: build(compose("+experiment=cat_toy", *OPTIMIZERS[optimizer]).optimizer)


def vectors_of(module: TextualInversion) -> torch.Tensor:
    return module.export_vectors()["<cat-toy>"]["clip_l"]


def val_loss(module: TextualInversion, data: Any) -> float:
    """The mean loss of the fixed examples, with the vectors for evaluation."""
    with torch.no_grad():
        return torch.cat([module.losses(batch, module.eval_vectors()) for batch in data.val_dataloader()]).mean().item()


@every_optimizer
def test_twenty_steps_move_the_vectors_and_lower_the_loss(model, data, factory, optimizer):
    module = tiny_module(model, num_vectors=2, optimizer=factory(optimizer))
    start, before = vectors_of(module), val_loss(module, data)
    tiny_trainer(max_steps=20, limit_val_batches=0).fit(module, data)
    assert (vectors_of(module) - start).abs().amax(dim=1).min() > 1e-3
    assert val_loss(module, data) < before


@every_optimizer
def test_a_resumed_run_is_bit_identical(model, data, factory, optimizer, tmp_path):
    def make() -> TextualInversion:
        return tiny_module(model, num_vectors=2, optimizer=factory(optimizer))

    run = run_and_resume(make, data, tmp_path, at=5, max_steps=8, limit_val_batches=0)
    assert torch.equal(vectors_of(run.uninterrupted), vectors_of(run.resumed))
    assert not torch.equal(vectors_of(run.uninterrupted), vectors_of(run.interrupted))


def test_validation_does_not_change_a_schedule_free_run(model, data, factory):
    validated, unvalidated = (tiny_module(model, optimizer=factory("schedule_free")) for _ in range(2))
    tiny_trainer(max_steps=6, limit_val_batches=1, val_check_interval=1).fit(validated, data)
    tiny_trainer(max_steps=6, limit_val_batches=0).fit(unvalidated, data)
    stepped = unvalidated.learned_tokens[0].embedding.weights["clip_l"].detach()
    assert torch.equal(validated.learned_tokens[0].embedding.weights["clip_l"].detach(), stepped)
    optimizer = unvalidated.trainer.optimizers[0]
    z, beta = optimizer.state_dict()["state"][0]["z"], optimizer.param_groups[0]["betas"][0]
    average = (stepped - (1 - beta) * z) / beta  # stepped = beta average + (1 - beta) z
    torch.testing.assert_close(vectors_of(unvalidated), average)
    assert not torch.equal(vectors_of(unvalidated), stepped)


def test_the_rate_that_prodigy_estimates_is_logged(model, data, factory):
    module = tiny_module(model, optimizer=factory("prodigy"))
    tiny_trainer(max_steps=4, limit_val_batches=0).fit(module, data)
    estimate = module.trainer.optimizers[0].param_groups[0]["d"]
    assert 0 < module.trainer.callback_metrics["train/lr"] <= estimate < 0.1


@every_optimizer
def test_resuming_with_another_optimizer_is_an_error(model, data, factory, optimizer, tmp_path):
    runner = tiny_trainer(max_steps=1, limit_val_batches=0)
    runner.fit(tiny_module(model, optimizer=factory(optimizer)), data)
    runner.save_checkpoint(tmp_path / "run.ckpt")
    other = tiny_module(model, optimizer=build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5}))
    with pytest.raises(
        UserError, match=r"optimizer was '\w+' and is 'Adam'; learning rate was [\d.]+ and is 0\.5\. Restore"
    ):
        tiny_trainer(limit_val_batches=0).fit(other, data, ckpt_path=tmp_path / "run.ckpt", weights_only=True)


@pytest.mark.parametrize("path", (CONF_DIR / "optimizer").glob("*.yaml"), ids=lambda path: path.stem)
def test_no_optimizer_that_ships_decays_the_vectors_of(path):
    """Weight decay of 1e-2, the default of diffusers' script, shrinks a vector by up to nine tenths."""
    assert yaml.safe_load(path.read_text(encoding="utf-8")).get("weight_decay", 0) == 0
