"""The effective batch and the rate, as a run says them in its first line."""

import pytest

from tinv.optim import EffectiveBatch


def test_the_first_line_says_what_the_numbers_are_made_of():
    pace = EffectiveBatch(batch_size=1, accumulate_grad_batches=4, world_size=1, lr=5e-4, scale_lr=True)
    assert pace.scaled_lr == pytest.approx(2e-3)
    assert str(pace) == (
        "effective batch 4 = 1 x 4 x 1 (batch size x accumulation x processes); learning rate 2e-3 = 5e-4 x 4"
    )


@pytest.mark.parametrize(("lr", "said"), [(5e-3, "5e-3"), (1.25e-4, "1.25e-4"), (1.0, "1"), (0.5, "0.5"), (0.0, "0")])
def test_a_rate_that_is_not_scaled_is_the_one_in_the_settings(lr, said):
    pace = EffectiveBatch(batch_size=4, accumulate_grad_batches=2, world_size=2, lr=lr, scale_lr=False)
    assert pace.size == 16
    assert pace.scaled_lr == lr
    assert str(pace).endswith(f"; learning rate {said}")


def test_equal_effective_batches_scale_alike():
    ways = [
        EffectiveBatch(batch_size=b, accumulate_grad_batches=a, world_size=p, lr=5e-4, scale_lr=True)
        for b, a, p in ((8, 1, 1), (2, 4, 1), (2, 2, 2), (1, 1, 8))
    ]
    assert len({pace.scaled_lr for pace in ways}) == 1
