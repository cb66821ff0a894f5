"""How vectors change in a real run: norm constraints, averages, clipping, schedules."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.optimization import get_constant_schedule_with_warmup
from lightning.pytorch import Callback, Trainer

from tests.resuming import run_and_resume
from tests.tiny import exported, tiny_data, tiny_module, weights
from tests.tiny import fit as fit_with
from tinv.errors import UserError
from tinv.optim import text_schedule
from tinv.training.module import TextualInversion

SGD = partial(torch.optim.SGD, lr=1.0)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("images"), model, batch_size=1, val_draws=2)


class Record(Callback):
    """Records vectors and learning rate of every optimizer step, and every `val/loss`."""

    def __init__(self) -> None:
        self.vectors: list[torch.Tensor] = []
        self.rates: list[float] = []
        self.val_losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.vectors):
            self.vectors.append(trained(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.val_losses.append(trainer.callback_metrics["val/loss"].item())


def trained(module: TextualInversion) -> torch.Tensor:
    return weights(module).detach().clone()


def fit(module: TextualInversion, data: Any, max_steps: int = 4, **options: Any) -> Record:
    record = Record()
    fit_with(module, data, max_steps, callbacks=[record], **{"limit_val_batches": 0} | options)
    return record


def test_fixed_norm_holds_after_every_step_and_for_the_average(model, data):
    module = tiny_module(model, num_vectors=2, norm="fixed", ema=0.5)
    median = model.tables["clip_l"].norm(dim=1).median()
    for vectors in [*fit(module, data).vectors, exported(module)]:
        torch.testing.assert_close(vectors.norm(dim=1), median.expand(2))


def test_soft_norm_ends_between_fixed_and_free(model, data):
    norms = []
    for norm in ("fixed", "soft", "free"):
        module = tiny_module(model, norm=norm, optimizer=partial(torch.optim.AdamW, lr=0.2))
        fit(module, data)
        norms.append(exported(module).norm().item())
    assert norms[0] < norms[1] < norms[2]


def test_average_is_exported_sampled_and_validated_and_does_not_change_training(model, data):
    module, plain = tiny_module(model, num_vectors=2, ema=0.6), tiny_module(model, num_vectors=2)
    expected = trained(module)
    record = fit(module, data, limit_val_batches=1.0)
    for n, vectors in enumerate(record.vectors, start=1):
        expected += (1 - min(0.6, (1 + n) / (10 + n))) * (vectors - expected)
    torch.testing.assert_close(exported(module), expected)
    assert torch.equal(module.learned_embeddings()[0].vectors["clip_l"], exported(module))
    assert not torch.equal(exported(module), trained(module))
    fit(plain, data)
    assert torch.equal(trained(plain), trained(module))
    plain.learned_tokens[0].embedding.load_state_dict({"weights.clip_l": exported(module)})
    with torch.no_grad():
        losses = [plain.losses(batch).mean() for batch in data.val_dataloader()]
    assert record.val_losses[-1] == torch.stack(losses).mean().item()


@pytest.mark.parametrize("norm", ["free", "soft", "fixed"])
def test_resumed_run_with_an_average_is_bit_identical(model, data, tmp_path, norm):
    schedule = partial(text_schedule, schedule="5e-3:3, 1e-3", lr=5e-3, num_training_steps=5)
    make, record = partial(tiny_module, model, norm=norm, ema=0.9, scheduler=schedule), Record()
    run = run_and_resume(make, data, tmp_path, at=2, max_steps=5, limit_val_batches=0, callbacks=[record])
    run.assert_equal()
    assert torch.equal(trained(run.uninterrupted), trained(run.resumed))
    assert record.rates[-3:] == record.rates[2:5] == pytest.approx([5e-3, 1e-3, 1e-3])
    saved = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    assert {"0.embedding.weights.clip_l", "0.average.embedding.weights.clip_l"} <= saved.keys()


@pytest.mark.parametrize("before", [0.0, 0.9])
def test_resuming_can_neither_drop_nor_add_an_average(model, data, tmp_path, before):
    module, now = tiny_module(model, ema=before), 0.9 - before
    fit(module, data, 1)
    module.trainer.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(UserError, match=rf"embedding\.ema was {before} and is {now}"):
        fit(tiny_module(model, ema=now), data, 2, resume=tmp_path / "one.ckpt")


@pytest.mark.parametrize("accumulate", [1, 3])
def test_gradient_is_clipped_once_a_step_and_for_the_vectors_alone(model, data, accumulate):
    """With accumulation the sum is clipped, not its parts."""
    module = tiny_module(model, num_vectors=2, optimizer=SGD)
    vectors = [trained(module)]
    vectors += fit(module, data, gradient_clip_val=1e-5, accumulate_grad_batches=accumulate).vectors
    for before, after in pairwise(vectors):
        assert (after - before).norm().item() == pytest.approx(1e-5, rel=2e-2)


def test_clip_value_above_every_gradient_changes_nothing(model, data):
    modules = tiny_module(model), tiny_module(model)
    fit(modules[0], data)
    fit(modules[1], data, gradient_clip_val=1e6)
    assert torch.equal(*map(trained, modules))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_warm_up_counts_optimizer_steps(model, data, accumulate):
    module = tiny_module(model, scheduler=partial(get_constant_schedule_with_warmup, num_warmup_steps=3))
    rates = fit(module, data, 5, accumulate_grad_batches=accumulate).rates
    assert rates == pytest.approx([5e-3 * share for share in (0, 1 / 3, 2 / 3, 1, 1)])


def test_scale_lr_multiplies_the_schedule_by_the_effective_batch(model, tmp_path):
    schedule = partial(text_schedule, schedule="5e-3:1, 1e-3", lr=5e-3, num_training_steps=2)
    module = tiny_module(model, scheduler=schedule, scale_lr=True)
    rates = fit(module, tiny_data(tmp_path, model, batch_size=2), 2, accumulate_grad_batches=3).rates
    assert rates == pytest.approx([6 * 5e-3, 6 * 1e-3])


def test_features_that_are_off_leave_no_hook_average_or_copy(model, data):
    module = tiny_module(model)
    fit(module, data, 1)
    (token,) = module.learned_tokens
    assert not module.trainer.optimizers[0]._optimizer_step_post_hooks
    assert token.average is None and token.norm_constraint is None
    assert list(module.state_dict()) == ["0.embedding.weights.clip_l"]
    assert module.eval_vectors()["<cat-toy>"]["clip_l"] is weights(module)


def test_repeats_do_not_lengthen_a_run(model, tmp_path):
    """In the reference script they multiply the number of steps."""
    lengths = []
    for repeats in (1, 7):
        module = tiny_module(model)
        rates = fit(module, tiny_data(tmp_path, model, batch_size=1, repeats=repeats), 3).rates
        lengths.append((len(rates), module.trainer.current_epoch, module.trainer.num_training_batches))
    assert lengths[0] == lengths[1] == (3, 1, 3)
