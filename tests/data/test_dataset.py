from collections import Counter
from itertools import islice

import pytest
import torch

from tinv.data.captions import Captions
from tinv.data.dataset import (
    EncodedImage,
    RunBatchSampler,
    ShuffledOrder,
    TrainingDataset,
    ValidationDataset,
    batches_by_size,
    collate,
    shuffled,
)
from tinv.data.encode_latents import EncodedViews
from tinv.seeding import generator

N = 5
CAPTIONS = Captions("<x>", tuple(f"caption {i}" for i in range(7)))


def encoded_image(i, repeats=1, height=1, masked=False):
    """An image with two views, whose moments are the number of the view."""
    moments = torch.arange(2 * i, 2 * i + 2, dtype=torch.float32).view(2, 1, 1, 1).expand(2, 2, height, 1)
    mask = torch.zeros(2, 1, height, 1) if masked else None
    return EncodedImage(EncodedViews(moments, torch.zeros(2, 6, dtype=torch.int64), mask), CAPTIONS, repeats)


def training(seed=0, repeats=1):
    return TrainingDataset([encoded_image(i, repeats) for i in range(N)], batch_size=4, seed=seed)


def test_examples_are_those_of_the_first_release():
    """A published seed must always give the same run."""
    examples = training(seed=3, repeats=2)
    for n in range(40):
        order = torch.randperm(2 * N, generator=generator(3, "order", n // (2 * N))).tolist()
        rng = generator(3, "sample", n)
        caption = int(torch.randint(7, (), generator=rng))
        view = int(torch.randint(2, (), generator=rng))
        level = float(torch.rand((), dtype=torch.float64, generator=rng))
        index = order[n % (2 * N)] % N
        example = examples[n]
        assert (example.index, example.caption, example.level) == (index, f"caption {caption}", level)
        assert example.moments[0, 0, 0] == 2 * index + view


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_pass_repeats_every_image(repeats):
    examples = training(repeats=repeats)
    for turn in range(4):
        counts = Counter(examples[turn * N * repeats + i].index for i in range(N * repeats))
        assert counts == dict.fromkeys(range(N), repeats)


def test_images_can_have_different_repeats():
    counts = {0: 3, 1: 1, 2: 2}
    examples = TrainingDataset([encoded_image(i, count) for i, count in counts.items()], batch_size=4, seed=0)
    for turn in range(5):
        assert Counter(examples[6 * turn + i].index for i in range(6)) == counts


def test_passes_have_different_orders():
    examples = training()
    orders = {tuple(examples[turn * N + i].index for i in range(N)) for turn in range(20)}
    assert len(orders) > 10


def test_an_example_is_a_function_of_the_seed_and_its_number():
    forwards, backwards = [training()[n] for n in range(30)], [training()[n] for n in reversed(range(30))]
    assert [vars(a) | {"moments": 0, "geometry": 0} for a in forwards] == [
        vars(b) | {"moments": 0, "geometry": 0} for b in reversed(backwards)
    ]
    assert [training(seed=1)[n].noise_seed for n in range(30)] != [example.noise_seed for example in forwards]


def test_captions_views_and_levels_are_uniformly_distributed():
    dataset = training()
    examples = [dataset[n] for n in range(2000)]
    assert set(Counter(example.caption for example in examples)) == set(CAPTIONS)
    flipped = sum(int(example.moments[0]) % 2 for example in examples)
    assert 900 < flipped < 1100
    level = torch.tensor([example.level for example in examples])
    assert abs(level.mean() - 0.5) < 0.02 and level.min() < 0.01 and level.max() > 0.99


def test_a_resumed_sampler_yields_the_remaining_batches():
    batches = list(islice(RunBatchSampler(start=0, stop=10, batch_size=3), 20))
    remaining = RunBatchSampler(start=6, stop=10, batch_size=3)
    assert list(islice(remaining, 14)) == batches[6:]
    assert len(remaining) == 10


def test_processes_get_different_examples():
    samplers = [RunBatchSampler(start=0, stop=4, batch_size=2, rank=rank, world_size=2) for rank in (0, 1)]
    ranks = [list(islice(sampler, 4)) for sampler in samplers]
    assert sorted(n for batches in ranks for batch in batches for n in batch) == list(range(16))
    together = islice(RunBatchSampler(start=0, stop=4, batch_size=4), 4)
    assert [sorted(ranks[0][i] + ranks[1][i]) for i in range(4)] == list(together)


def test_validation_levels_are_stratified_and_the_set_is_fixed():
    sets = [ValidationDataset([encoded_image(i) for i in range(N)], num_draws=64) for _ in range(2)]
    levels = sorted(sets[0][i].level for i in range(64))
    assert levels == [(i + 0.5) / 64 for i in range(64)]
    assert [sets[0][i].noise_seed for i in range(64)] == [sets[1][i].noise_seed for i in range(64)]
    assert {sets[0][i].index for i in range(64)} == set(range(N))


def test_collate_gives_a_mask_of_ones_to_images_without_one():
    examples = TrainingDataset([encoded_image(0, masked=True), encoded_image(1)], batch_size=2, seed=0)
    batch = collate([examples[0], examples[1]])
    assert {int(i): mask.unique().tolist() for i, mask in zip(batch.index, batch.mask, strict=True)} == {0: [0], 1: [1]}
    assert collate([training()[0], training()[1]]).mask is None


def test_validation_batches_have_one_image_size_and_contain_every_example():
    examples = ValidationDataset([encoded_image(0), encoded_image(1, height=2), encoded_image(2)], num_draws=20)
    batches = examples.batches(4)
    assert sorted(i for batch in batches for i in batch) == list(range(20))
    assert all(len({examples[i].moments.shape for i in batch}) == 1 for batch in batches)
    one_size = ValidationDataset([encoded_image(i) for i in range(N)], num_draws=10)
    assert one_size.batches(4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


SIZES = ["square"] * 3 + ["wide"] * 5 + ["tall"]
INDICES = list(range(len(SIZES)))


def make_order(batch_size=4, seed=0, sizes=SIZES):
    return ShuffledOrder(INDICES, sizes, batch_size=batch_size, seed=seed)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_micro_batch_has_images_of_one_size(batch_size):
    order = make_order(batch_size)
    for batch in range(60):
        assert len({SIZES[order[batch * batch_size + position]] for position in range(batch_size)}) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_after_batch_size_passes_every_image_was_used_equally_often(batch_size):
    order = make_order(batch_size)
    period = len(INDICES) * batch_size
    for turn in range(4):
        assert Counter(order[turn * period + i] for i in range(period)) == dict.fromkeys(INDICES, batch_size)


def test_the_sizes_alternate():
    order = make_order()
    sizes = [SIZES[order[batch * 4]] for batch in range(90)]
    for start in range(0, 90, 9):
        assert Counter(sizes[start : start + 9]) == Counter(SIZES)


def test_with_one_size_each_pass_is_a_permutation_for_any_batch_size():
    plain = [shuffled(5, n // 9, 9)[n % 9] for n in range(60)]
    for batch_size in (1, 4, 7):
        order = make_order(batch_size, seed=5, sizes=["square"] * 9)
        assert [order[n] for n in range(60)] == plain


def test_the_order_is_a_function_of_the_seed():
    forwards = [make_order()[n] for n in range(100)]
    backwards = make_order()
    assert [backwards[n] for n in reversed(range(100))] == forwards[::-1]
    assert [make_order(seed=1)[n] for n in range(100)] != forwards


def test_batches_by_size_keep_the_order_and_contain_every_position():
    batches = batches_by_size(list("abaabba"), 2)
    assert batches == [[0, 2], [3, 6], [1, 4], [5]]
