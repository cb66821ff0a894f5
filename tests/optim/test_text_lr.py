"""Rates as a line of text: A1111's syntax, and nothing that only looks like it."""

import warnings

import pytest
import torch

from tinv.errors import UserError
from tinv.optim import text_schedule


def rates(schedule: str | float | list[str | float], steps: int, lr: float = 5e-3) -> list[float]:
    """The rate that each of a run's steps is made with."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = text_schedule(optimizer, schedule, lr=lr, num_training_steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("lr", [5e-3, 1.0, 2e-4])
def test_each_rate_holds_until_its_step_whatever_the_optimizers_own_rate_is(lr):
    assert rates("5e-3:2, 1e-3:5, 1e-4", 7, lr) == pytest.approx([5e-3] * 2 + [1e-3] * 3 + [1e-4] * 2)


def test_a_list_says_the_same_as_a_line():
    assert rates(["5e-3:2", 1e-3], 4) == rates("5e-3:2, 0.001", 4)


@pytest.mark.parametrize("text", ["1e-3", "1e-3:-1", "1e-3:3", "1e-3:100", "0.001 : 3", 1e-3])
def test_the_last_rate_holds_to_the_end(text):
    assert rates(text, 3) == pytest.approx([1e-3] * 3)


def test_rates_are_scaled_with_the_optimizers_own():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=4 * 5e-3)
    text_schedule(optimizer, "1e-3", lr=5e-3, num_training_steps=3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' must begin with a rate"),
        ("fast", "'fast' must begin with a rate of 0 or more"),
        ("-1e-3", "'-1e-3' must begin with a rate"),
        ("nan", "'nan' must begin with a rate"),
        ("inf", "'inf' must begin with a rate"),
        ("1e-3:", "'1e-3:' must end with a whole step above 0"),
        ("1e-3:1.5", "must end with a whole step above 0"),
        ("1e-3:0", "must end with a whole step above 0"),
        ("1e-3:5:6", "must end with a whole step"),
        ("1e-3:5, 1e-4:5", "'1e-4:5' must end with a whole step above 5"),
        ("1e-3:5, 1e-4:3, 1e-5", "'1e-4:3' must end with a whole step above 5"),
        ("1e-3, 1e-4:5", "only the last rate may leave its step out, '1e-3' is not"),
        ("1e-3:-1, 1e-4", "only the last rate may leave its step out"),
        ("1e-3:5,", "'' must begin with a rate"),
        ("1e-3:5, 1e-4:9", "ends at step 9, but the run has 10; leave the last step out to go on at 0.0001, or"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(UserError, match=r"^scheduler\.schedule") as caught:
        rates(text, 10)
    assert said in str(caught.value)


def test_a_rate_that_never_begins_is_warned_of():
    with pytest.warns(UserWarning, match="the run ends at step 10, before the rate 0.0001 begins"):
        rates("1e-3:10, 1e-4", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates("1e-3:9, 1e-4", 10)
