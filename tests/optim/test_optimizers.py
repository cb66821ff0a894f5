"""Every optimizer that ships: it learns, and a run that goes on is the uninterrupted run to the last bit."""

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

SHIPPED = {
    "adamw": ["optimizer=adamw"],
    "prodigy": ["optimizer=prodigy", "optimizer.d0=1e-4"],
    "adafactor": ["optimizer=adafactor"],
    "lion": ["optimizer=lion"],
    "schedule_free": ["optimizer=schedule_free", "optimizer.warmup_steps=3"],
}
"""With what lets twenty steps be enough."""
shipped = pytest.mark.parametrize("optimizer", SHIPPED)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("pictures"), model, batch_size=1, val_draws=8)


@pytest.fixture
def factory(compose) -> Callable[..., Any]:
    return lambda optimizer: build(compose("+experiment=cat_toy", *SHIPPED[optimizer]).optimizer)


def rows(module: TextualInversion) -> torch.Tensor:
    return module.export_vectors()["<cat-toy>"]["clip_l"]


def val_loss(module: TextualInversion, data: Any) -> float:
    """Over the fixed draws, of the rows that everybody else gets."""
    with torch.no_grad():
        return torch.cat([module.losses(batch, module.eval_vectors()) for batch in data.val_dataloader()]).mean().item()


@shipped
def test_twenty_steps_move_the_rows_and_lower_the_loss(model, data, factory, optimizer):
    module = tiny_module(model, num_vectors=2, optimizer=factory(optimizer))
    start, before = rows(module), val_loss(module, data)
    tiny_trainer(max_steps=20, limit_val_batches=0).fit(module, data)
    assert (rows(module) - start).abs().amax(dim=1).min() > 1e-3
    assert val_loss(module, data) < before


@shipped
def test_a_resumed_run_is_the_uninterrupted_run_to_the_last_bit(model, data, factory, optimizer, tmp_path):
    def make() -> TextualInversion:
        return tiny_module(model, num_vectors=2, optimizer=factory(optimizer))

    run = run_and_resume(make, data, tmp_path, at=5, max_steps=8, limit_val_batches=0)
    assert torch.equal(rows(run.uninterrupted), rows(run.resumed))
    assert not torch.equal(rows(run.uninterrupted), rows(run.interrupted))


def test_schedule_free_shows_the_average_and_steps_on_as_if_nobody_had_looked(model, data, factory):
    looked_at, left_alone = (tiny_module(model, optimizer=factory("schedule_free")) for _ in range(2))
    tiny_trainer(max_steps=6, limit_val_batches=1, val_check_interval=1).fit(looked_at, data)
    tiny_trainer(max_steps=6, limit_val_batches=0).fit(left_alone, data)
    stepped = left_alone.learned_tokens[0].embedding.weights["clip_l"].detach()
    assert torch.equal(looked_at.learned_tokens[0].embedding.weights["clip_l"].detach(), stepped)
    optimizer = left_alone.trainer.optimizers[0]
    z, beta = optimizer.state_dict()["state"][0]["z"], optimizer.param_groups[0]["betas"][0]
    average = (stepped - (1 - beta) * z) / beta  # what is stepped is beta x + (1 - beta) z
    torch.testing.assert_close(rows(left_alone), average)
    assert not torch.equal(rows(left_alone), stepped)


def test_the_rate_that_prodigy_finds_is_the_one_that_is_logged(model, data, factory):
    module = tiny_module(model, optimizer=factory("prodigy"))
    tiny_trainer(max_steps=4, limit_val_batches=0).fit(module, data)
    found = module.trainer.optimizers[0].param_groups[0]["d"]
    assert 0 < module.trainer.callback_metrics["train/lr"] <= found < 0.1


@shipped
def test_another_optimizer_or_rate_than_the_checkpoints_is_refused_not_ignored(
    model, data, factory, optimizer, tmp_path
):
    runner = tiny_trainer(max_steps=1, limit_val_batches=0)
    runner.fit(tiny_module(model, optimizer=factory(optimizer)), data)
    runner.save_checkpoint(tmp_path / "one.ckpt")
    other = tiny_module(model, optimizer=build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5}))
    with pytest.raises(
        UserError, match=r"optimizer was '\w+' and is 'Adam'; learning rate was [\d.]+ and is 0\.5\. Restore"
    ):
        tiny_trainer(limit_val_batches=0).fit(other, data, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


@pytest.mark.parametrize("path", (CONF_DIR / "optimizer").glob("*.yaml"), ids=lambda path: path.stem)
def test_no_optimizer_that_ships_decays_the_rows(path):
    """E-18: the reference script's decay of 1e-2 shrinks the word by up to nine tenths."""
    assert yaml.safe_load(path.read_text(encoding="utf-8")).get("weight_decay", 0) == 0
