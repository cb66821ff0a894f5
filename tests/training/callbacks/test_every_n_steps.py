"""EveryNSteps reports each n-th optimizer step once."""

import pytest

from tinv.training.callbacks.every_n_steps import EveryNSteps


@pytest.mark.parametrize(("n", "start", "due"), [(3, 0, [3, 6, 9]), (3, 3, [6, 9]), (3, 4, [6, 9]), (None, 0, [])])
def test_each_multiple_is_due_once_and_none_is_never_due(n, start, due):
    every = EveryNSteps(n, setting="x")
    every.reset(start)
    batches = [step for step in range(start, 10) for _ in range(2)]
    assert [step for step in batches if every.is_due(step)] == due
