"""The logged loss is the mean of the whole optimizer step, and logging it does not wait for the device."""

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import fit, tiny_data, tiny_module
from tinv.training.microbatches import MeanLoss, mean_by_concept
from tinv.training.module import TextualInversion


class ItemCalls(TorchDispatchMode):
    """Counts how often a number is read from a tensor, as `.item()`, `float()` and `bool()` do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


class LoggedLosses(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, *_):
        if not trainer.fit_loop._should_accumulate():
            self.losses.append(trainer.callback_metrics["train/loss"].item())


@pytest.mark.parametrize("merge_batches", [True, False])
def test_train_loss_is_the_mean_over_all_micro_batches_of_a_step(model, tmp_path, monkeypatch, merge_batches):
    """The reference scripts log the last micro-batch alone."""
    computed, logged, losses = [], LoggedLosses(), TextualInversion.losses

    def record(self, batch, vectors=None, loss=None):
        result = losses(self, batch, vectors, loss)
        computed.extend(result.tolist())
        return result

    module, data = tiny_module(model, merge_batches=merge_batches), tiny_data(tmp_path / "images", model)
    # three micro-batches in two forward passes
    monkeypatch.setattr("tinv.training.microbatches.micro_batches_that_fit", lambda *_, **__: 2)
    monkeypatch.setattr(TextualInversion, "losses", record)
    fit(module, data, 2, accumulate_grad_batches=3, limit_val_batches=0, callbacks=[logged])
    expected = torch.tensor(computed).view(2, -1).mean(dim=1)
    assert torch.allclose(torch.tensor(logged.losses), expected, rtol=1e-6)
    assert expected[0] != expected[1]


def test_training_step_reads_no_number_from_the_device(model, tmp_path):
    """The reference scripts read the loss at every micro-batch."""
    module, counts = tiny_module(model), []
    training_step = module.training_step

    def counted(batch, batch_idx):
        with ItemCalls() as calls:
            loss = training_step(batch, batch_idx)
        counts.append(calls.count)
        return loss

    module.training_step = counted
    fit(module, tiny_data(tmp_path / "images", model), 3, limit_val_batches=0)
    assert counts == [0, 0, 0]
    with ItemCalls() as calls:
        assert float(torch.ones(1)) == torch.ones(1).item()
    assert calls.count == 2, "the counter works"


def test_each_concept_and_all_samples_have_a_mean():
    losses = {"/cat": (1.0, 3), "/dog": (5.0, 1)}
    means = [MeanLoss(suffix, torch.tensor(loss), count) for suffix, (loss, count) in losses.items()]
    result = mean_by_concept("train/loss", [*means, MeanLoss("/cat", torch.tensor(2.0), 1)])
    assert {name: (mean.item(), count) for name, (mean, count) in result.items()} == {
        "train/loss/cat": (1.25, 4),
        "train/loss/dog": (5.0, 1),
        "train/loss": (2.0, 5),
    }
