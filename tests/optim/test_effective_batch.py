import pytest

from tinv.optim import EffectiveBatch


def test_str_shows_the_factors_of_the_batch_size_and_the_learning_rate():
    batch = EffectiveBatch(batch_size=1, accumulate_grad_batches=4, world_size=1, lr=5e-4, scale_lr=True)
    assert batch.scaled_lr == pytest.approx(2e-3)
    assert str(batch) == (
        "effective batch 4 = 1 x 4 x 1 (batch size x accumulation x processes); learning rate 2e-3 = 5e-4 x 4"
    )


@pytest.mark.parametrize(("lr", "text"), [(5e-3, "5e-3"), (1.25e-4, "1.25e-4"), (1.0, "1"), (0.5, "0.5"), (0.0, "0")])
def test_without_scale_lr_the_learning_rate_is_the_one_in_the_config(lr, text):
    batch = EffectiveBatch(batch_size=4, accumulate_grad_batches=2, world_size=2, lr=lr, scale_lr=False)
    assert batch.size == 16
    assert batch.scaled_lr == lr
    assert str(batch).endswith(f"; learning rate {text}")


def test_scale_lr_depends_only_on_the_effective_batch_size():
    batches = [
        EffectiveBatch(batch_size=b, accumulate_grad_batches=a, world_size=p, lr=5e-4, scale_lr=True)
        for b, a, p in ((8, 1, 1), (2, 4, 1), (2, 2, 2), (1, 1, 8))
    ]
    assert len({batch.scaled_lr for batch in batches}) == 1
