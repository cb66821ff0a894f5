"""The loss that is logged is that of the whole step, and looking at it waits for no device."""

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.training.microbatches import MeanLoss, mean_by_concept
from tinv.training.module import TextualInversion


class Looks(TorchDispatchMode):
    """Counts how often a number is fetched from a tensor, as `.item()`, `float()` and `bool()` do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


class Logged(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, *_):
        if not trainer.fit_loop._should_accumulate():
            self.losses.append(trainer.callback_metrics["train/loss"].item())


@pytest.mark.parametrize("merged", [True, False])
def test_it_is_the_mean_of_the_micro_batches_of_the_step(model, tmp_path, monkeypatch, merged):
    """E-16: the scripts log the last micro-batch alone."""
    learner, told, logged = tiny_module(model), [], Logged()
    learner._merger.limit = None if merged else 1
    plain = TextualInversion.losses

    def listening(self, batch, vectors=None, objective=None):
        found = plain(self, batch, vectors, objective)
        told.extend(found.tolist())
        return found

    data = tiny_data(tmp_path / "images", model)
    loop = tiny_trainer(max_steps=2, accumulate_grad_batches=3, limit_val_batches=0, callbacks=[logged])
    monkeypatch.setattr(
        "tinv.training.microbatches.micro_batches_that_fit", lambda *_, **__: 2
    )  # three micro-batches in two pieces
    monkeypatch.setattr(TextualInversion, "losses", listening)
    loop.fit(learner, data)
    each = torch.tensor(told).view(2, -1).mean(dim=1)
    assert torch.allclose(torch.tensor(logged.losses), each, rtol=1e-6)
    assert each[0] != each[1]


def test_a_training_step_waits_for_no_device(model, tmp_path):
    """E-16: the scripts fetch the loss at every micro-batch."""
    learner = tiny_module(model)
    looks = []
    step = learner.training_step

    def counted(batch, batch_idx):
        with Looks() as mode:
            loss = step(batch, batch_idx)
        looks.append(mode.count)
        return loss

    learner.training_step = counted
    tiny_trainer(max_steps=3, limit_val_batches=0).fit(learner, tiny_data(tmp_path / "images", model))
    assert looks == [0, 0, 0]
    with Looks() as mode:
        assert float(torch.ones(1)) == torch.ones(1).item()
    assert mode.count == 2  # it would have been noticed


def test_concepts_have_their_own_mean_and_all_of_them_one():
    parts = [
        MeanLoss("/cat", torch.tensor(1.0), 3),
        MeanLoss("/dog", torch.tensor(5.0), 1),
        MeanLoss("/cat", torch.tensor(2.0), 1),
    ]
    found = mean_by_concept("train/loss", parts)
    assert list(found) == ["train/loss/cat", "train/loss/dog", "train/loss"]
    assert [(mean.item(), count) for mean, count in found.values()] == [(1.25, 4), (5.0, 1), (2.0, 5)]
