"""The frequency of each timestep, and the timesteps of an optimizer step."""

import math
from collections import Counter
from itertools import islice

import pytest
import torch
from diffusers import DDPMScheduler
from lightning.pytorch import Callback

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.data.captions import Captions
from tinv.data.dataset import EncodedImage, RunBatchSampler, TrainingDataset
from tinv.data.encode_latents import EncodedViews
from tinv.diffusion.process import DDPMProcess
from tinv.diffusion.timestep_samplers import (
    CosineTimesteps,
    LogSNRTimesteps,
    RangeTimesteps,
    UniformTimesteps,
    levels_at_quantiles,
)
from tinv.errors import UserError

T = 1000
SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SD = DDPMProcess(SCHEDULER.alphas_cumprod, "epsilon")
"""Stable Diffusion's noise process."""
GRID = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def timesteps_of(sampler):
    """The timesteps at evenly spaced quantiles."""
    return SD.timesteps(levels_at_quantiles(GRID, sampler.weights(SD)))


def share_below_half(sampler):
    return (timesteps_of(sampler) < T // 2).double().mean().item()


def test_uniform_has_no_weights():
    assert UniformTimesteps().weights(SD) is None


def test_range_is_uniform_between_its_bounds():
    counts = Counter(timesteps_of(RangeTimesteps(low=500, high=900)).tolist())
    assert sorted(counts) == list(range(500, 900))
    assert set(counts.values()) == {250}


def test_cosine_is_that_of_reversion():
    """1 - strength cos(pi t / T), whose integral over the cleaner half is 1/2 - strength / pi."""
    assert share_below_half(CosineTimesteps(strength=0.5)) == pytest.approx(0.5 - 0.5 / math.pi, abs=1e-3)
    assert share_below_half(CosineTimesteps(strength=0.5)) == pytest.approx(0.341, abs=1e-3)
    assert share_below_half(CosineTimesteps(strength=1.0)) == pytest.approx(0.5 - 1 / math.pi, abs=1e-3)
    assert share_below_half(CosineTimesteps(strength=0.0)) == pytest.approx(0.5, abs=1e-3)


def test_logsnr_has_38_percent_in_the_cleaner_half_of_stable_diffusion():
    assert share_below_half(LogSNRTimesteps()) == pytest.approx(0.378, abs=5e-4)
    assert LogSNRTimesteps().weights(SD)[0] == 0, "the cleanest timestep is excluded"
    assert timesteps_of(LogSNRTimesteps()).min() >= 1


@pytest.mark.parametrize("sampler", [RangeTimesteps(low=3, high=7), LogSNRTimesteps(), CosineTimesteps(strength=0.7)])
def test_timesteps_have_the_frequency_of_their_weights(sampler):
    process = DDPMProcess(torch.linspace(0.99, 0.01, 12), "epsilon")
    weights = sampler.weights(process)
    t = process.timesteps(levels_at_quantiles(GRID, weights))
    frequency = torch.bincount(t, minlength=12) / len(GRID)
    torch.testing.assert_close(frequency.double(), weights / weights.sum(), atol=2e-5, rtol=0)


def test_a_higher_quantile_is_a_later_timestep():
    t = timesteps_of(CosineTimesteps())
    assert (t.diff() >= 0).all() and t[0] < 10 and t[-1] == T - 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RangeTimesteps(low=900, high=500), r"low=900, timestep_sampler\.high=500"),
        (lambda: RangeTimesteps(high=2000).weights(SD), "high=2000: the model has 1000 timesteps"),
        (lambda: CosineTimesteps(strength=2), "strength=2: must be between 0 and 1"),
        (lambda: LogSNRTimesteps().weights(DDPMProcess(torch.linspace(0.99, 0.0, 10), "epsilon")), "pure noise"),
    ],
)
def test_invalid_settings_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()


def make_dataset(num_strata, seed=0, batch_size=2):
    views = EncodedViews(torch.zeros(1, 2, 1, 1), torch.zeros(1, 6, dtype=torch.int64), None)
    images = [EncodedImage(views, Captions("<x>", ("a",))) for _ in range(5)]
    return TrainingDataset(images, batch_size=batch_size, seed=seed, num_strata=num_strata)


def levels(num_strata, steps, group, seed=0):
    """The noise levels of the examples of each optimizer step, [steps, group]."""
    dataset = make_dataset(num_strata, seed)
    numbers = [[dataset[step * group + i].level for i in range(group)] for step in range(steps)]
    return torch.tensor(numbers, dtype=torch.float64)


def test_a_stratified_step_has_one_level_per_stratum():
    level = levels(8, 200, 8)
    assert (level.mul(8).long().sort(dim=1).values == torch.arange(8)).all()


def test_each_stratified_example_alone_is_uniform():
    """Chi-square test of each position in the step: with 20 classes the 0.999 quantile is 43.8."""
    level = levels(4, 4000, 4)
    for i in range(4):
        counts = torch.bincount((level[:, i] * 20).long(), minlength=20).double()
        assert ((counts - 200) ** 2 / 200).sum() < 43.8


def test_stratification_lowers_the_variance_of_a_step():
    """The variance of the mean of n levels falls as 1 / n ** 3 instead of 1 / n: here by a factor of 64."""
    for of_level in (lambda x: x, torch.square):
        independent, stratified = (of_level(levels(num_strata, 1000, 8)).mean(dim=1).var() for num_strata in (None, 8))
        assert independent / 80 < stratified < independent / 40


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (4, 1), (2, 2)])
def test_strata_span_all_processes_and_accumulated_batches(accumulate, world_size):
    group = 2 * accumulate * world_size
    dataset = make_dataset(group)
    for step in range(20):
        numbers = [
            n
            for rank in range(world_size)
            for batch in islice(
                RunBatchSampler(start=step * accumulate, stop=100, batch_size=2, rank=rank, world_size=world_size),
                accumulate,
            )
            for n in batch
        ]
        assert sorted(int(dataset[n].level * group) for n in numbers) == list(range(group))


def test_levels_are_independent_of_the_image():
    dataset = make_dataset(4)
    counts = Counter((example.index, int(example.level * 4)) for example in (dataset[n] for n in range(4000)))
    assert len(counts) == 20 and min(counts.values()) > 150


class RecordTimesteps(Callback):
    """Records the timesteps of each optimizer step that the U-Net is called with."""

    def __init__(self):
        self.trained, self.validated = {}, []

    def on_fit_start(self, trainer, module):
        predict = module.model.predict

        def recording(x_t, t, *args):
            timesteps = self.validated if trainer.validating else self.trained.setdefault(trainer.global_step, [])
            timesteps.extend(t.tolist())
            return predict(x_t, t, *args)

        module.model.predict = recording

    def on_fit_end(self, trainer, module):
        del module.model.predict


def run(model, folder, sampler, **options):
    """The timesteps of a short run, and the vectors that it learns."""
    recorded, merge = RecordTimesteps(), options.pop("merge_batches", False)
    module = tiny_module(model, timestep_sampler=sampler, merge_batches=merge)
    tiny_trainer(callbacks=[recorded], **options).fit(module, tiny_data(folder, model, stratified=sampler.stratified))
    return recorded, module.export_vectors()["<cat-toy>"]["clip_l"]


def test_a_sampler_changes_training_but_not_validation(model, tmp_path):
    recorded, _ = run(model, tmp_path, RangeTimesteps(low=500, high=900))
    assert all(500 <= t < 900 for timesteps in recorded.trained.values() for t in timesteps)
    uniform, _ = run(model, tmp_path, UniformTimesteps())
    assert recorded.validated and recorded.validated == uniform.validated


@pytest.mark.parametrize("merge_batches", [False, True])
def test_accumulated_batches_are_stratified_also_when_merged(model, tmp_path, merge_batches):
    sampler = UniformTimesteps(stratified=True)
    recorded, _ = run(model, tmp_path, sampler, accumulate_grad_batches=4, merge_batches=merge_batches)
    assert len(recorded.trained) == 4
    for timesteps in recorded.trained.values():
        assert sorted(t * 8 // T for t in timesteps[-8:]) == list(range(8)), (
            "the first batch is also run to measure memory"
        )


def test_merged_batches_give_the_same_result_with_a_sampler(model, tmp_path):
    sampler = CosineTimesteps(stratified=True)
    separate, merged = (
        run(model, tmp_path, sampler, accumulate_grad_batches=4, merge_batches=m)[1] for m in (False, True)
    )
    torch.testing.assert_close(separate, merged, atol=1e-4, rtol=0)
