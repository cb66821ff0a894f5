"""How often training shows each timestep: masses by hand, and what an optimizer step covers."""

import math
from collections import Counter

import pytest
import torch
from diffusers import DDPMScheduler
from lightning.pytorch import Callback

from tests.tiny import tiny_data, tiny_module, tiny_trainer
from tinv.data.captions import Captions
from tinv.data.dataset import EncodedImage, RunBatchSampler, TrainingDataset
from tinv.data.encode_latents import EncodedViews
from tinv.diffusion.process import timesteps
from tinv.diffusion.timestep_samplers import (
    CosineTimesteps,
    LogSNRTimesteps,
    RangeTimesteps,
    UniformTimesteps,
    levels_at_quantiles,
)
from tinv.errors import UserError

T = 1000
SD = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
"""Stable Diffusion's schedule."""
GRID = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def drawn(sampler):
    """The timesteps that evenly spread shares become."""
    return timesteps(levels_at_quantiles(GRID, sampler.weights(SD)), T)


def below_half(sampler):
    return (drawn(sampler) < T // 2).double().mean().item()


def test_uniform_leaves_the_levels_alone():
    assert UniformTimesteps().weights(SD) is None


def test_a_range_is_never_left_and_even_inside():
    counts = Counter(drawn(RangeTimesteps(low=500, high=900)).tolist())
    assert sorted(counts) == list(range(500, 900))
    assert set(counts.values()) == {250}


def test_the_cosine_is_that_of_reversion():
    """1 - strength cos(pi t / T), whose mass in the cleaner half is 1/2 - strength / pi."""
    assert below_half(CosineTimesteps(strength=0.5)) == pytest.approx(0.5 - 0.5 / math.pi, abs=1e-3)
    assert below_half(CosineTimesteps(strength=0.5)) == pytest.approx(0.341, abs=1e-3)
    assert below_half(CosineTimesteps(strength=1.0)) == pytest.approx(0.5 - 1 / math.pi, abs=1e-3)
    assert below_half(CosineTimesteps(strength=0.0)) == pytest.approx(0.5, abs=1e-3)


def test_log_snr_puts_378_of_a_thousand_into_the_cleaner_half_of_stable_diffusion():
    assert below_half(LogSNRTimesteps()) == pytest.approx(0.378, abs=5e-4)
    assert LogSNRTimesteps().weights(SD)[0] == 0, "the cleanest timestep never comes"
    assert drawn(LogSNRTimesteps()).min() >= 1


@pytest.mark.parametrize("sampler", [RangeTimesteps(low=3, high=7), LogSNRTimesteps(), CosineTimesteps(strength=0.7)])
def test_each_timestep_comes_in_proportion_to_its_weight(sampler):
    alphas = torch.linspace(0.99, 0.01, 12)
    weights = sampler.weights(alphas)
    t = timesteps(levels_at_quantiles(GRID, weights), 12)
    found = torch.bincount(t, minlength=12) / len(GRID)
    torch.testing.assert_close(found.double(), weights / weights.sum(), atol=2e-5, rtol=0)


def test_more_of_a_share_is_never_a_cleaner_timestep():
    t = drawn(CosineTimesteps())
    assert (t.diff() >= 0).all() and t[0] < 10 and t[-1] == T - 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RangeTimesteps(low=900, high=500), "low=900 and high=500"),
        (lambda: RangeTimesteps(high=2000).weights(SD), "at most the model's 1000 timesteps, got 2000"),
        (lambda: CosineTimesteps(strength=2), "0 to 1, got 2"),
        (lambda: LogSNRTimesteps().weights(torch.linspace(0.99, 0.0, 10)), "pure noise"),
    ],
)
def test_what_cannot_be_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def samples(num_strata, seed=0, batch_size=2):
    views = EncodedViews(torch.zeros(1, 2, 1, 1), torch.zeros(1, 6, dtype=torch.int64), None)
    shown = [EncodedImage(views, Captions("<x>", ("a",))) for _ in range(5)]
    return TrainingDataset(shown, batch_size=batch_size, seed=seed, num_strata=num_strata)


def levels(num_strata, steps, group, seed=0):
    """[steps, group], the levels of the samples of each optimizer step."""
    dealt = samples(num_strata, seed)
    numbers = [[dealt[step * group + i].level for i in range(group)] for step in range(steps)]
    return torch.tensor(numbers, dtype=torch.float64)


def test_a_stratified_step_has_one_level_in_each_stratum():
    found = levels(8, 200, 8)
    assert (found.mul(8).long().sort(dim=1).values == torch.arange(8)).all()


def test_each_stratified_sample_alone_is_uniform():
    """A chi-square test of each place of the step by itself: of 20 classes the 0.999 quantile is 43.8."""
    found = levels(4, 4000, 4)
    for place in range(4):
        counts = torch.bincount((found[:, place] * 20).long(), minlength=20).double()
        assert ((counts - 200) ** 2 / 200).sum() < 43.8


def test_a_function_of_the_level_varies_less_over_stratified_steps():
    """The variance of a step's mean falls with the cube of the samples, not with their number: here to a 64th."""
    for of_level in (lambda x: x, torch.square):
        each, shared = (of_level(levels(num_strata, 1000, 8)).mean(dim=1).var() for num_strata in (None, 8))
        assert each / 80 < shared < each / 40


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 1), (4, 1), (2, 2)])
def test_the_strata_are_those_of_the_whole_optimizer_step(accumulate, world_size):
    """Micro-batches one after the other and processes beside each other, as `RunSampler` deals them."""
    group = 2 * accumulate * world_size
    dealt = samples(group)
    for step in range(20):
        own = [
            n
            for rank in range(world_size)
            for batch in RunBatchSampler(
                start=step * accumulate,
                stop=(step + 1) * accumulate,
                batch_size=2,
                rank=rank,
                world_size=world_size,
            )
            for n in batch
        ]
        assert sorted(int(dealt[n].level * group) for n in own) == list(range(group))


def test_levels_have_nothing_to_do_with_which_picture_comes_first():
    dealt = samples(4)
    counts = Counter((sample.index, int(sample.level * 4)) for sample in (dealt[n] for n in range(4000)))
    assert len(counts) == 20 and min(counts.values()) > 150


class _Listen(Callback):
    """The timesteps of each optimizer step, as the model is asked."""

    def __init__(self):
        self.shown, self.validated = {}, []

    def on_fit_start(self, trainer, module):
        predict = module.model.predict

        def heard(x_t, t, *rest):
            where = self.validated if trainer.validating else self.shown.setdefault(trainer.global_step, [])
            where.extend(t.tolist())
            return predict(x_t, t, *rest)

        module.model.predict = heard

    def on_fit_end(self, trainer, module):
        del module.model.predict


def run(model, folder, sampler, **options):
    """What a short run asks the model for, and the rows that it learns."""
    listen, merge = _Listen(), options.pop("merge_batches", False)
    module = tiny_module(model, timestep_sampler=sampler, merge_batches=merge)
    tiny_trainer(callbacks=[listen], **options).fit(module, tiny_data(folder, model, stratified=sampler.stratified))
    return listen, module.export_vectors()["<cat-toy>"]["clip_l"]


def test_training_stays_in_the_range_and_validation_does_not(model, tmp_path):
    listen, _ = run(model, tmp_path, RangeTimesteps(low=500, high=900))
    assert all(500 <= t < 900 for shown in listen.shown.values() for t in shown)
    evenly, _ = run(model, tmp_path, UniformTimesteps())
    assert listen.validated and listen.validated == evenly.validated


@pytest.mark.parametrize("merge_batches", [False, True])
def test_accumulated_micro_batches_share_the_schedule_out_also_side_by_side(model, tmp_path, merge_batches):
    sampler = UniformTimesteps(stratified=True)
    listen, _ = run(model, tmp_path, sampler, accumulate_grad_batches=4, merge_batches=merge_batches)
    assert len(listen.shown) == 4
    for shown in listen.shown.values():
        assert sorted(t * 8 // T for t in shown[-8:]) == list(range(8)), "before them may come the probe of the memory"


def test_merged_micro_batches_learn_the_same_at_chosen_timesteps(model, tmp_path):
    sampler = CosineTimesteps(stratified=True)
    one, other = (run(model, tmp_path, sampler, accumulate_grad_batches=4, merge_batches=m)[1] for m in (False, True))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
