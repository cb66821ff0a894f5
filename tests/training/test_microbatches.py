"""Micro-batches merged into one forward pass: the same sums, fewer passes."""

from functools import partial
from unittest import mock

import pytest
import torch
from diffusers.optimization import get_linear_schedule_with_warmup
from PIL import Image

from tests.resuming import run_and_resume
from tests.tiny import CAT, exported, fit, tiny_data, tiny_images, tiny_module
from tinv.data.datamodule import ConceptDataModule
from tinv.data.dataset import TrainingDataset, collate
from tinv.training import microbatches
from tinv.training.module import TextualInversion


def learn(model, data, *, accumulate=4, **options):
    """The vectors after three steps, and the batch size of each forward pass."""
    module, sizes, losses = tiny_module(model, num_vectors=2, **options), [], TextualInversion.losses

    def record(self, batch, vectors=None, loss=None):
        sizes.append(len(batch))
        return losses(self, batch, vectors, loss)

    with mock.patch.object(TextualInversion, "losses", record):
        fit(module, data, 3, accumulate_grad_batches=accumulate, limit_val_batches=0)
    return exported(module), sizes


@pytest.mark.parametrize("crop", ["squash", "buckets"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_merged_micro_batches_teach_what_single_ones_do(model, tmp_path, crop, batch_size):
    """Images have two shapes, and one has a mask."""
    tiny_images(tmp_path / "images")
    Image.new("RGB", (40, 80), (90, 20, 160)).save(tmp_path / "images" / "tall.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (48, 40), 90).save(tmp_path / "masks" / "1.png")
    settings = {"masks": str(tmp_path / "masks"), "mask_floor": 0.1, "fit": crop, "batch_size": batch_size}
    data = ConceptDataModule(concept=CAT, seed=0, folder=str(tmp_path / "images"), flip=True, **settings)
    data.encode_images(model.encode_images, resolution=model.resolution)
    apart, sizes = learn(model, data)
    together, merged_sizes = learn(model, data, merge_batches=True)
    assert sizes == [batch_size] * 12
    assert sum(merged_sizes[1:]) == 12 * batch_size, "the first pass measures the memory"
    assert merged_sizes[1:] == [4 * batch_size] * 3 or (crop == "buckets" and len(merged_sizes) < 12)
    torch.testing.assert_close(together, apart, atol=2e-5, rtol=0)


def test_memory_limits_how_many_are_merged(model, tmp_path):
    data = tiny_data(tmp_path, model, batch_size=1)
    apart, _ = learn(model, data)
    with mock.patch.object(microbatches, "micro_batches_that_fit", return_value=3):
        merged, sizes = learn(model, data, merge_batches=True)
    assert sizes == [3, 1] * 3
    torch.testing.assert_close(merged, apart, atol=2e-5, rtol=0)
    with mock.patch.object(microbatches, "free_bytes", return_value=0):
        single, sizes = learn(model, data, merge_batches=True)
    assert sizes == [1] * 13
    assert torch.equal(single, apart)


def test_merging_changes_nothing_without_accumulation(model, tmp_path):
    data = tiny_data(tmp_path, model)
    plain, merged = (learn(model, data, accumulate=1, merge_batches=merge)[0] for merge in (False, True))
    assert torch.equal(plain, merged)


def test_resumed_run_is_bit_identical(model, tmp_path):
    scheduler = partial(get_linear_schedule_with_warmup, num_warmup_steps=2, num_training_steps=6)
    make = partial(tiny_module, model, merge_batches=True, scheduler=scheduler)
    data = tiny_data(tmp_path / "data", model, batch_size=1)
    run_and_resume(make, data, tmp_path, at=2, max_steps=6, accumulate_grad_batches=3).assert_equal()


def test_memory_need_counts_saved_activations_but_not_weights():
    weight, vectors = torch.ones(1000, 1000), torch.ones(10, 1000, requires_grad=True)
    compute, device = lambda: ((vectors @ weight) ** 2).sum(), torch.device("cpu")
    with mock.patch.object(microbatches, "free_bytes", return_value=2 * 7 * 10 * 1000 * 4):
        assert microbatches.micro_batches_that_fit(compute, frozen=[weight], device=device) == 7


def test_merge_keeps_the_order_of_samples(model, tmp_path):
    samples = TrainingDataset(tiny_data(tmp_path, model, batch_size=1).encoded_images, batch_size=1, seed=0)
    (batch,) = microbatches.merge([collate([samples[n]]) for n in range(3)])
    assert batch.noise_seeds.tolist() == [samples[n].noise_seed for n in range(3)]
    assert batch.captions == [samples[n].caption for n in range(3)]
    assert torch.equal(batch.moments, torch.stack([samples[n].moments for n in range(3)]))
