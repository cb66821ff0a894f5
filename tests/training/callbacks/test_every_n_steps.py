"""Every n-th optimizer step counts once, however many batches it takes."""

import pytest

from tinv.errors import UserError
from tinv.training.callbacks.every_n_steps import EveryNSteps


@pytest.mark.parametrize(("begin", "expected"), [(0, [3, 6, 9]), (3, [6, 9]), (4, [6, 9])])
def test_each_multiple_is_due_once(begin: int, expected: list[int]) -> None:
    every = EveryNSteps(3, setting="x")
    every.reset(begin)
    batches = [step for step in range(begin, 10) for _ in range(2)]
    assert [step for step in batches if every.is_due(step)] == expected


def test_none_is_never_due() -> None:
    assert not any(EveryNSteps(None, setting="x").is_due(step) for step in range(10))


def test_less_than_one_step_is_refused_by_the_name_of_the_setting() -> None:
    with pytest.raises(UserError, match=r"callbacks\.samples\.every_n_steps must be 1 or more, got -2"):
        EveryNSteps(-2, setting="callbacks.samples.every_n_steps")
