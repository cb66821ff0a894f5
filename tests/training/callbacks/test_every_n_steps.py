"""EveryNSteps reports each n-th optimizer step once."""

import pytest

from tinv.errors import UserError
from tinv.training.callbacks.every_n_steps import EveryNSteps


@pytest.mark.parametrize(("start", "expected"), [(0, [3, 6, 9]), (3, [6, 9]), (4, [6, 9])])
def test_each_multiple_is_due_once(start, expected):
    every = EveryNSteps(3, setting="x")
    every.reset(start)
    batches = [step for step in range(start, 10) for _ in range(2)]
    assert [step for step in batches if every.is_due(step)] == expected


def test_none_is_never_due():
    assert not any(EveryNSteps(None, setting="x").is_due(step) for step in range(10))


def test_less_than_one_step_raises_with_the_name_of_the_setting():
    with pytest.raises(UserError, match=r"callbacks\.samples\.every_n_steps=-2: must be 1 or more"):
        EveryNSteps(-2, setting="callbacks.samples.every_n_steps")
