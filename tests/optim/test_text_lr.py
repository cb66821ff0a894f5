import warnings

import pytest
import torch

from tinv.errors import UserError
from tinv.optim import text_schedule


def learning_rates(schedule: str | float | list[str | float], steps: int, lr: float = 5e-3) -> list[float]:
    """The learning rate of each step of a run."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = text_schedule(optimizer, schedule, lr=lr, num_training_steps=steps)
    result = []
    for _ in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


@pytest.mark.parametrize("lr", [5e-3, 1.0, 2e-4])
def test_each_rate_holds_until_its_step_for_any_optimizer_lr(lr):
    assert learning_rates("5e-3:2, 1e-3:5, 1e-4", 7, lr) == pytest.approx([5e-3] * 2 + [1e-3] * 3 + [1e-4] * 2)


def test_a_list_is_the_same_as_a_line():
    assert learning_rates(["5e-3:2", 1e-3], 4) == learning_rates("5e-3:2, 0.001", 4)


@pytest.mark.parametrize("text", ["1e-3", "1e-3:-1", "1e-3:3", "1e-3:100", "0.001 : 3", 1e-3])
def test_the_last_rate_holds_to_the_end(text):
    assert learning_rates(text, 3) == pytest.approx([1e-3] * 3)


def test_rates_are_scaled_with_the_optimizers_lr():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=4 * 5e-3)
    text_schedule(optimizer, "1e-3", lr=5e-3, num_training_steps=3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' must begin with a rate"),
        ("fast", "'fast' must begin with a rate of 0 or more"),
        ("-1e-3", "'-1e-3' must begin with a rate"),
        ("nan", "'nan' must begin with a rate"),
        ("inf", "'inf' must begin with a rate"),
        ("1e-3:", "'1e-3:' must end with an integer step above 0"),
        ("1e-3:1.5", "must end with an integer step above 0"),
        ("1e-3:0", "must end with an integer step above 0"),
        ("1e-3:5:6", "must end with an integer step"),
        ("1e-3:5, 1e-4:5", "'1e-4:5' must end with an integer step above 5"),
        ("1e-3:5, 1e-4:3, 1e-5", "'1e-4:3' must end with an integer step above 5"),
        ("1e-3, 1e-4:5", "'1e-3' has no step. Only the last rate may omit it"),
        ("1e-3:-1, 1e-4", "Only the last rate may omit it"),
        ("1e-3:5,", "'' must begin with a rate"),
        ("1e-3:5, 1e-4:9", "ends at step 9, but the run has 10. Omit the last step to continue at 0.0001, or"),
    ],
)
def test_an_invalid_schedule_is_an_error_that_names_the_part(text, message):
    with pytest.raises(UserError, match=r"^scheduler\.schedule") as caught:
        learning_rates(text, 10)
    assert message in str(caught.value)


def test_a_rate_that_never_begins_causes_a_warning():
    with pytest.warns(UserWarning, match="the run ends at step 10, before the rate 0.0001 begins"):
        learning_rates("1e-3:10, 1e-4", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learning_rates("1e-3:9, 1e-4", 10)
