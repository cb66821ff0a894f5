from collections import Counter

import pytest
import torch

from tinv.data.stream import RunSampler, TrainingSamples, ValidationSamples

N = 5
MOMENTS = torch.arange(N * 2, dtype=torch.float32).view(N, 2, 1, 1, 1)
GEOMETRY = torch.zeros(N, 6, dtype=torch.int64)
CAPTIONS = [f"caption {i}" for i in range(7)]


def training(seed=0, repeats=1):
    return TrainingSamples(moments=MOMENTS, geometry=GEOMETRY, captions=CAPTIONS, repeats=repeats, seed=seed)


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_pass_shows_every_picture_as_often_as_repeats_says(repeats):
    samples = training(repeats=repeats)
    for turn in range(4):
        shown = Counter(samples[turn * N * repeats + i].index for i in range(N * repeats))
        assert shown == dict.fromkeys(range(N), repeats)


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
    samples = [training()[n] for n in range(2000)]
    assert set(Counter(sample.caption for sample in samples)) == set(CAPTIONS)
    mirrored = sum(int(sample.moments) % 2 for sample in samples)
    assert 900 < mirrored < 1100
    level = torch.tensor([sample.level for sample in samples])
    assert abs(level.mean() - 0.5) < 0.02 and level.min() < 0.01 and level.max() > 0.99


def test_a_resumed_sampler_goes_on_where_the_run_stood():
    whole = list(RunSampler(start=0, stop=10, batch_size=3))
    rest = RunSampler(start=6, stop=10, batch_size=3)
    assert list(rest) == whole[6:]
    assert len(rest) == 10


def test_processes_share_the_samples_without_overlap():
    parts = [list(RunSampler(start=0, stop=4, batch_size=2, rank=rank, world_size=2)) for rank in (0, 1)]
    seen = [n for part in parts for batch in part for n in batch]
    assert sorted(seen) == list(range(16))
    assert [sorted(parts[0][i] + parts[1][i]) for i in range(4)] == list(RunSampler(start=0, stop=4, batch_size=4))


def test_validation_levels_are_stratified_and_the_set_is_fixed():
    sets = [ValidationSamples(moments=MOMENTS, geometry=GEOMETRY, captions=CAPTIONS, num_draws=64) for _ in range(2)]
    levels = sorted(sets[0][i].level for i in range(64))
    assert levels == [(i + 0.5) / 64 for i in range(64)]
    assert [sets[0][i].draw for i in range(64)] == [sets[1][i].draw for i in range(64)]
    assert {sets[0][i].index for i in range(64)} == set(range(N))
