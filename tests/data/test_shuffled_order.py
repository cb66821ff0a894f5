from collections import Counter

import pytest

from tinv.data.dataset import ShuffledOrder, batches_by_size, shuffled

SIZES = ["square"] * 3 + ["wide"] * 5 + ["tall"]
CARDS = list(range(len(SIZES)))


def deck(batch_size=4, seed=0, sizes=SIZES):
    return ShuffledOrder(CARDS, sizes, batch_size=batch_size, seed=seed)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_micro_batch_holds_one_size(batch_size):
    dealt = deck(batch_size)
    for batch in range(60):
        assert len({SIZES[dealt[batch * batch_size + place]] for place in range(batch_size)}) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_after_as_many_passes_as_a_batch_has_samples_every_card_came_equally_often(batch_size):
    dealt = deck(batch_size)
    each = len(CARDS) * batch_size
    for turn in range(4):
        assert Counter(dealt[turn * each + i] for i in range(each)) == dict.fromkeys(CARDS, batch_size)


def test_no_size_waits_long():
    dealt = deck()
    sizes = [SIZES[dealt[batch * 4]] for batch in range(90)]
    for start in range(0, 90, 9):
        assert Counter(sizes[start : start + 9]) == Counter(SIZES)


def test_where_all_have_one_size_the_passes_are_dealt_whatever_the_batch():
    plain = [shuffled(5, n // 9, 9)[n % 9] for n in range(60)]
    for batch_size in (1, 4, 7):
        one = deck(batch_size, seed=5, sizes=["square"] * 9)
        assert [one[n] for n in range(60)] == plain


def test_a_card_depends_on_the_seed_and_its_number_alone():
    forwards = [deck()[n] for n in range(100)]
    backwards = deck()
    assert [backwards[n] for n in reversed(range(100))] == forwards[::-1]
    assert [deck(seed=1)[n] for n in range(100)] != forwards


def test_batches_of_one_size_keep_the_order_and_lose_nothing():
    batches = batches_by_size(list("abaabba"), 2)
    assert batches == [[0, 2], [3, 6], [1, 4], [5]]
