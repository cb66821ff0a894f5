"""Accumulated micro-batches side by side: the same sums, fewer forward passes."""

from functools import partial
from unittest import mock

import pytest
import torch
from diffusers.optimization import get_linear_schedule_with_warmup
from PIL import Image

from tests.resuming import broken_off
from tests.tiny import tiny_data, tiny_images, tiny_module, tiny_trainer
from tinv.data.datamodule import ConceptDataModule
from tinv.training import microbatches as merging
from tinv.training.microbatches import merge
from tinv.training.module import TextualInversion


def learn(model, data, *, accumulate=4, steps=3, **options):
    """The rows after some steps, and how many samples each forward pass had."""
    learner, sizes = tiny_module(model, num_vectors=2, **options), []
    plain = TextualInversion.losses

    def listening(self, batch, vectors=None, objective=None):
        sizes.append(len(batch))
        return plain(self, batch, vectors, objective)

    with mock.patch.object(TextualInversion, "losses", listening):
        tiny_trainer(max_steps=steps, accumulate_grad_batches=accumulate, limit_val_batches=0).fit(learner, data)
    return learner.export_vectors()["<cat-toy>"]["clip_l"], sizes


def pictures(folder, model, **settings):
    """A datamodule over pictures of two shapes, some with a mask."""
    tiny_images(folder / "pictures")
    Image.new("RGB", (40, 80), (90, 20, 160)).save(folder / "pictures" / "tall.png")
    (folder / "masks").mkdir()
    Image.new("L", (48, 40), 90).save(folder / "masks" / "1.png")
    data = ConceptDataModule(
        concept=tiny_module(model).learned_tokens[0].concept,
        seed=0,
        folder=str(folder / "pictures"),
        masks=str(folder / "masks"),
        mask_floor=0.1,
        **settings,
    )
    data.encode_images(model.encode_images, resolution=model.resolution)
    return data


@pytest.mark.parametrize("fit", ["squash", "buckets"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_they_teach_the_rows_what_they_teach_one_after_the_other(model, tmp_path, fit, batch_size):
    data = pictures(tmp_path, model, fit=fit, batch_size=batch_size, flip=True)
    apart, alone = learn(model, data)
    together, merged = learn(model, data, merge_batches=True)
    assert alone == [batch_size] * 12
    assert sum(merged[1:]) == 12 * batch_size  # the first one finds out how much memory it takes
    assert merged[1:] == [4 * batch_size] * 3 or (fit == "buckets" and len(merged) < 12)
    torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)


def test_as_many_at_once_as_memory_has_room_for(model, tmp_path, monkeypatch):
    data = tiny_data(tmp_path, model, batch_size=1)
    apart, _ = learn(model, data)
    monkeypatch.setattr(merging, "micro_batches_that_fit", lambda compute, **_: 3)
    three, sizes = learn(model, data, merge_batches=True)
    assert sizes == [3, 1] * 3
    torch.testing.assert_close(three, apart, atol=2e-5, rtol=0)
    monkeypatch.undo()
    monkeypatch.setattr(merging, "free_bytes", lambda device: 0)
    one, sizes = learn(model, data, merge_batches=True)
    assert sizes == [1] * 13
    assert torch.equal(one, apart)


def test_without_accumulation_nothing_changes(model, tmp_path):
    data = tiny_data(tmp_path, model)
    plain, merged = (learn(model, data, accumulate=1, merge_batches=on)[0] for on in (False, True))
    assert torch.equal(plain, merged)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(model, tmp_path):
    data = tiny_data(tmp_path / "data", model, batch_size=1)
    scheduler = partial(get_linear_schedule_with_warmup, num_warmup_steps=2, num_training_steps=6)
    run = broken_off(
        lambda: tiny_module(model, merge_batches=True, scheduler=scheduler),
        data,
        tmp_path,
        at=2,
        of=6,
        accumulate_grad_batches=3,
    )
    assert torch.equal(
        run.whole.export_vectors()["<cat-toy>"]["clip_l"], run.resumed.export_vectors()["<cat-toy>"]["clip_l"]
    )


def test_what_is_kept_for_the_backward_pass_is_counted_and_weights_are_not():
    weight = torch.ones(1000, 1000)
    rows = torch.ones(10, 1000, requires_grad=True)

    def compute():
        return ((rows @ weight) ** 2).sum()

    with mock.patch.object(merging, "free_bytes", return_value=2 * 7 * 10 * 1000 * 4):
        assert merging.micro_batches_that_fit(compute, frozen=[weight], device=torch.device("cpu")) == 7


def test_samples_stand_side_by_side_in_their_order(model, tmp_path):
    data = tiny_data(tmp_path, model, batch_size=1)
    from tinv.data.dataset import TrainingDataset, collate

    samples = TrainingDataset(data.encoded_images, batch_size=1, seed=0)
    (batch,) = merge([collate([samples[n]]) for n in range(3)])
    assert batch.draws.tolist() == [samples[n].draw for n in range(3)]
    assert batch.captions == [samples[n].caption for n in range(3)]
    assert torch.equal(batch.moments, torch.stack([samples[n].moments for n in range(3)]))
