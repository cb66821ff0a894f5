from collections import Counter

import pytest
import torch

from tinv.data.captions import Captions
from tinv.data.dataset import EncodedImage, RunBatchSampler, TrainingDataset, ValidationDataset, collate
from tinv.data.encode_latents import EncodedViews
from tinv.seeding import generator

N = 5
CAPTIONS = Captions("<x>", tuple(f"caption {i}" for i in range(7)))


def picture(i, repeats=1, height=1, masked=False):
    """Two views; a view's moments are its number."""
    moments = torch.arange(2 * i, 2 * i + 2, dtype=torch.float32).view(2, 1, 1, 1).expand(2, 2, height, 1)
    mask = torch.zeros(2, 1, height, 1) if masked else None
    return EncodedImage(EncodedViews(moments, torch.zeros(2, 6, dtype=torch.int64), mask), CAPTIONS, repeats)


def training(seed=0, repeats=1):
    return TrainingDataset([picture(i, repeats) for i in range(N)], batch_size=4, seed=seed)


def test_the_first_runs_of_tinv_showed_the_same():
    """Sample n as the first release drew it: a published seed must go on meaning the same run."""
    samples = training(seed=3, repeats=2)
    for n in range(40):
        order = torch.randperm(2 * N, generator=generator(3, "order", n // (2 * N))).tolist()
        chance = generator(3, "sample", n)
        caption = int(torch.randint(7, (), generator=chance))
        view = int(torch.randint(2, (), generator=chance))
        level = float(torch.rand((), dtype=torch.float64, generator=chance))
        index = order[n % (2 * N)] % N
        sample = samples[n]
        assert (sample.index, sample.caption, sample.level) == (index, f"caption {caption}", level)
        assert sample.moments[0, 0, 0] == 2 * index + view


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_pass_shows_every_picture_as_often_as_repeats_says(repeats):
    samples = training(repeats=repeats)
    for turn in range(4):
        shown = Counter(samples[turn * N * repeats + i].index for i in range(N * repeats))
        assert shown == dict.fromkeys(range(N), repeats)


def test_a_pass_shows_each_picture_as_often_as_it_repeats():
    counts = {0: 3, 1: 1, 2: 2}
    samples = TrainingDataset([picture(i, count) for i, count in counts.items()], batch_size=4, seed=0)
    for turn in range(5):
        assert Counter(samples[6 * turn + i].index for i in range(6)) == counts


def test_passes_have_different_orders():
    samples = training()
    orders = {tuple(samples[turn * N + i].index for i in range(N)) for turn in range(20)}
    assert len(orders) > 10


def test_a_sample_depends_on_the_seed_and_its_number_alone():
    forwards, backwards = [training()[n] for n in range(30)], [training()[n] for n in reversed(range(30))]
    assert [vars(a) | {"moments": 0, "geometry": 0} for a in forwards] == [
        vars(b) | {"moments": 0, "geometry": 0} for b in reversed(backwards)
    ]
    assert [training(seed=1)[n].draw for n in range(30)] != [sample.draw for sample in forwards]


def test_captions_orientations_and_levels_are_spread_evenly():
    dealt = training()
    samples = [dealt[n] for n in range(2000)]
    assert set(Counter(sample.caption for sample in samples)) == set(CAPTIONS)
    mirrored = sum(int(sample.moments[0]) % 2 for sample in samples)
    assert 900 < mirrored < 1100
    level = torch.tensor([sample.level for sample in samples])
    assert abs(level.mean() - 0.5) < 0.02 and level.min() < 0.01 and level.max() > 0.99


def test_a_resumed_sampler_goes_on_where_the_run_stood():
    whole = list(RunBatchSampler(start=0, stop=10, batch_size=3))
    rest = RunBatchSampler(start=6, stop=10, batch_size=3)
    assert list(rest) == whole[6:]
    assert len(rest) == 10


def test_processes_share_the_samples_without_overlap():
    parts = [list(RunBatchSampler(start=0, stop=4, batch_size=2, rank=rank, world_size=2)) for rank in (0, 1)]
    seen = [n for part in parts for batch in part for n in batch]
    assert sorted(seen) == list(range(16))
    assert [sorted(parts[0][i] + parts[1][i]) for i in range(4)] == list(RunBatchSampler(start=0, stop=4, batch_size=4))


def test_validation_levels_are_stratified_and_the_set_is_fixed():
    sets = [ValidationDataset([picture(i) for i in range(N)], num_draws=64) for _ in range(2)]
    levels = sorted(sets[0][i].level for i in range(64))
    assert levels == [(i + 0.5) / 64 for i in range(64)]
    assert [sets[0][i].draw for i in range(64)] == [sets[1][i].draw for i in range(64)]
    assert {sets[0][i].index for i in range(64)} == set(range(N))


def test_a_picture_without_a_mask_counts_whole_beside_one_that_has_one():
    samples = TrainingDataset([picture(0, masked=True), picture(1)], batch_size=2, seed=0)
    batch = collate([samples[0], samples[1]])
    assert {int(i): mask.unique().tolist() for i, mask in zip(batch.index, batch.mask, strict=True)} == {0: [0], 1: [1]}
    assert collate([training()[0], training()[1]]).mask is None


def test_validation_batches_hold_pictures_of_one_size_and_every_draw_once():
    samples = ValidationDataset([picture(0), picture(1, height=2), picture(2)], num_draws=20)
    batches = samples.batches(4)
    assert sorted(i for batch in batches for i in batch) == list(range(20))
    assert all(len({samples[i].moments.shape for i in batch}) == 1 for batch in batches)
    alike = ValidationDataset([picture(i) for i in range(N)], num_draws=10)
    assert alike.batches(4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
