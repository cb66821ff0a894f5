"""How the rows move in a real run: held, averaged, clipped, scheduled, and gone on with."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.optimization import get_constant_schedule_with_warmup
from lightning.pytorch import Callback, Trainer

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.errors import UserError
from tinv.optim import text_schedule
from tinv.training.module import TextualInversion


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("pictures"), model, batch_size=1, val_draws=2)


class Watch(Callback):
    """Keeps the rows and the rate of every optimizer step, and the numbers that were logged."""

    def __init__(self) -> None:
        self.rows: list[torch.Tensor] = []
        self.rates: list[float] = []
        self.validated: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.rows):
            self.rows.append(trained(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.validated.append(trainer.callback_metrics["val/loss"].item())


def trained(module: TextualInversion) -> torch.Tensor:
    return module.learned_tokens[0].embedding.weights["clip_l"].detach().clone()


def shown(module: TextualInversion) -> torch.Tensor:
    return module.export_vectors()["<cat-toy>"]["clip_l"]


def fit(module: TextualInversion, data: Any, max_steps: int = 4, resume: Any = None, **options: Any) -> Watch:
    watch = Watch()
    settings = {"limit_val_batches": 0} | options
    trainer = tiny_trainer(max_steps=max_steps, callbacks=[watch], **settings)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return watch


SGD = partial(torch.optim.SGD, lr=1.0)


def test_a_fixed_norm_holds_after_every_step_and_for_the_average_too(model, data):
    module = tiny_module(model, num_vectors=2, norm="fixed", ema=0.5)
    median = model.tables["clip_l"].norm(dim=1).median()
    for rows in [*fit(module, data).rows, shown(module)]:
        torch.testing.assert_close(rows.norm(dim=1), median.expand(2))


def test_a_soft_norm_ends_between_a_fixed_and_a_free_one(model, data):
    norms = {}
    for norm in ("fixed", "soft", "free"):
        module = tiny_module(model, norm=norm, optimizer=partial(torch.optim.AdamW, lr=0.2))
        fit(module, data)
        norms[norm] = shown(module).norm().item()
    assert norms["fixed"] < norms["soft"] < norms["free"]


def test_the_average_is_what_is_exported_sampled_and_validated(model, data):
    module = tiny_module(model, num_vectors=2, ema=0.6)
    expected = trained(module)
    watch = fit(module, data, limit_val_batches=1.0)
    for n, rows in enumerate(watch.rows, start=1):
        expected += (1 - min(0.6, (1 + n) / (10 + n))) * (rows - expected)
    torch.testing.assert_close(shown(module), expected)
    assert torch.equal(module.learned_embeddings()[0].vectors["clip_l"], shown(module))
    assert not torch.equal(shown(module), trained(module))
    plain = tiny_module(model, num_vectors=2)
    plain.learned_tokens[0].embedding.load_state_dict({"weights.clip_l": shown(module)})
    with torch.no_grad():
        losses = [plain.losses(batch).mean() for batch in data.val_dataloader()]
    assert watch.validated[-1] == torch.stack(losses).mean().item()


def test_keeping_an_average_does_not_move_the_rows_elsewhere(model, data):
    modules = [tiny_module(model, ema=ema) for ema in (0.0, 0.9)]
    for module in modules:
        fit(module, data)
    assert torch.equal(*(trained(module) for module in modules))


@pytest.mark.parametrize("norm", ["free", "soft", "fixed"])
def test_a_resumed_run_with_an_average_is_the_uninterrupted_run_to_the_last_bit(model, data, tmp_path, norm):
    def module() -> TextualInversion:
        schedule = partial(text_schedule, schedule="5e-3:3, 1e-3", lr=5e-3, num_training_steps=5)
        return tiny_module(model, norm=norm, ema=0.9, scheduler=schedule)

    whole, half, resumed = module(), module(), module()
    watch = fit(whole, data, 5)
    fit(half, data, 2)
    half.trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest = fit(resumed, data, 5, resume=tmp_path / "half.ckpt")
    assert torch.equal(trained(whole), trained(resumed))
    assert torch.equal(shown(whole), shown(resumed))
    assert rest.rates == watch.rates[2:] == pytest.approx([5e-3, 1e-3, 1e-3])
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert {"embedding.weights.clip_l", "average.embedding.weights.clip_l"} <= saved.keys()


@pytest.mark.parametrize("before", [0.0, 0.9])
def test_an_average_can_neither_be_dropped_nor_invented_on_the_way(model, data, tmp_path, before):
    module = tiny_module(model, ema=before)
    fit(module, data, 1)
    module.trainer.save_checkpoint(tmp_path / "one.ckpt")
    now = 0.9 - before
    with pytest.raises(UserError, match=rf"embedding\.ema was {before} and is {now}"):
        fit(tiny_module(model, ema=now), data, 2, resume=tmp_path / "one.ckpt")


@pytest.mark.parametrize("accumulate", [1, 3])
def test_clipping_shortens_the_gradient_of_the_rows_once_a_step(model, data, accumulate):
    """E-22, and on the rows alone; with accumulation it is the sum that is clipped, not its parts."""
    module = tiny_module(model, num_vectors=2, optimizer=SGD)
    places = [trained(module)]
    places += fit(module, data, gradient_clip_val=1e-5, accumulate_grad_batches=accumulate).rows
    for before, after in pairwise(places):
        assert (after - before).norm().item() == pytest.approx(1e-5, rel=2e-2)


def test_a_clip_above_every_gradient_changes_nothing(model, data):
    modules = [tiny_module(model) for _ in range(2)]
    fit(modules[0], data)
    fit(modules[1], data, gradient_clip_val=1e6)
    assert torch.equal(*(trained(module) for module in modules))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_warm_up_counts_optimizer_steps(model, data, accumulate):
    schedule = partial(get_constant_schedule_with_warmup, num_warmup_steps=3)
    module = tiny_module(model, scheduler=schedule)
    watch = fit(module, data, 5, accumulate_grad_batches=accumulate)
    assert watch.rates == pytest.approx([5e-3 * share for share in (0, 1 / 3, 2 / 3, 1, 1)])


def test_a_scaled_rate_is_the_references_and_the_schedule_is_laid_over_it(model, tmp_path):
    schedule = partial(text_schedule, schedule="5e-3:1, 1e-3", lr=5e-3, num_training_steps=2)
    module = tiny_module(model, scheduler=schedule, scale_lr=True)
    watch = fit(module, tiny_data(tmp_path, model, batch_size=2), 2, accumulate_grad_batches=3)
    assert watch.rates == pytest.approx([6 * 5e-3, 6 * 1e-3])


def test_what_is_not_asked_for_costs_nothing(model, data):
    """No hook, no average, no number more in the checkpoint, no copy of the rows for looking at them."""
    module = tiny_module(model)
    fit(module, data, 1)
    assert not module.trainer.optimizers[0]._optimizer_step_post_hooks
    assert module.learned_tokens[0].average is None
    assert module.learned_tokens[0].hold is None
    assert list(module.state_dict()) == ["embedding.weights.clip_l"]
    assert module.eval_vectors()["<cat-toy>"]["clip_l"] is module.learned_tokens[0].embedding.weights["clip_l"]


def test_repeats_do_not_lengthen_a_run(model, tmp_path):
    """E-31: in the reference script they inflate the epochs by which a run is measured."""
    lengths = []
    for repeats in (1, 7):
        module = tiny_module(model)
        watch = fit(module, tiny_data(tmp_path, model, batch_size=1, repeats=repeats), 3)
        lengths.append((len(watch.rates), module.trainer.current_epoch, module.trainer.num_training_batches))
    assert lengths[0] == lengths[1] == (3, 1, 3)
