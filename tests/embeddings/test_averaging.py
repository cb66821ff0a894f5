"""EMA and TailAverage of the vectors."""

import pytest
import torch

from tests.training.callbacks.fitting import fit, vectors
from tinv.embeddings import EmbeddingConfig, TokenParameters
from tinv.embeddings.averaging import EMA, TailAverage
from tinv.errors import UserError
from tinv.runs.layout import checkpoint_path
from tinv.training.callbacks import Checkpoints
from tinv.training.try_optimizer import try_optimizer


def parameters(*values: float) -> TokenParameters:
    return TokenParameters("<cat-toy>", {"clip_l": torch.tensor([values])})


def averaged(average: EMA) -> torch.Tensor:
    return average.embedding.vectors()["<cat-toy>"]["clip_l"].detach()


def test_ema_is_the_recursion_in_its_docstring():
    current, expected = parameters(0.0, 1.0), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    average = EMA(current, decay=0.5)
    for n in range(1, 30):
        with torch.no_grad():
            current.weights["clip_l"].add_(torch.tensor([[1.0, -0.5]]))
        average.update(current)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * current.weights["clip_l"].detach()
        torch.testing.assert_close(averaged(average), expected.float())


def test_ema_of_constant_vectors_is_constant():
    current = parameters(0.3, -0.7)
    average = EMA(current, decay=0.999)
    for _ in range(5):
        average.update(current)
    torch.testing.assert_close(averaged(average), torch.tensor([[0.3, -0.7]]))


def test_ema_soon_forgets_the_initial_values():
    current = parameters(0.0)
    average = EMA(current, decay=0.9999)
    with torch.no_grad():
        current.weights["clip_l"].fill_(1.0)
    for _ in range(50):
        average.update(current)
    assert averaged(average).item() > 0.99


def test_ema_is_a_copy_and_ignores_numbers_that_are_not_finite():
    current = parameters(1.0, 2.0)
    average = EMA(current, decay=0.5)
    with torch.no_grad():
        current.weights["clip_l"].copy_(torch.tensor([[float("nan"), float("inf")]]))
    assert torch.equal(averaged(average), torch.tensor([[1.0, 2.0]]))
    average.update(current)
    assert torch.equal(averaged(average), torch.tensor([[1.0, 2.0]]))


def test_ema_restores_its_state():
    current = parameters(1.0)
    saved, restored = EMA(current, decay=0.9), EMA(parameters(0.0), decay=0.9)
    for _ in range(3):
        with torch.no_grad():
            current.weights["clip_l"].add_(1.0)
        saved.update(current)
    restored.load_state_dict(saved.state_dict())
    for average in (saved, restored):
        average.update(parameters(-5.0))
    assert torch.equal(averaged(saved), averaged(restored))


def test_ema_stays_float32_and_has_no_gradient():
    average = EMA(parameters(0.1), decay=0.9).to(torch.bfloat16)
    assert averaged(average).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_there_is_no_average_by_default():
    assert EmbeddingConfig().build_average(parameters(0.0)) is None


def update(average: TailAverage, values: torch.Tensor) -> list[torch.Tensor]:
    """The average after each of some vectors."""
    averages = []
    for value in values:
        average.update(TokenParameters("<cat-toy>", {"clip_l": value[None]}))
        averages.append(average.embedding.vectors()["<cat-toy>"]["clip_l"].detach()[0].clone())
    return averages


def tail_average(share: float, max_steps: int) -> TailAverage:
    average = TailAverage(TokenParameters("<cat-toy>", {"clip_l": torch.zeros(1, 3)}), share)
    average.set_max_steps(max_steps)
    return average


@pytest.mark.parametrize(("share", "last"), [(0.2, 8), (0.5, 20), (0.001, 1), (0.999, 40)])
def test_tail_average_is_the_vectors_until_the_last_steps_and_then_their_mean(share, last):
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    averages = update(tail_average(share, 40), values)
    first = 40 - last
    for n in range(first + 1):
        assert torch.equal(averages[n], values[n]), "to the last bit, up to the first of the last steps"
    for n in range(first, 40):
        torch.testing.assert_close(averages[n], values[first : n + 1].mean(0))


def test_tail_average_restores_its_state():
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    expected = update(tail_average(0.5, 20), values)[-1]
    for cut in (1, 9, 10, 11, 15, 20):
        saved, restored = tail_average(0.5, 20), tail_average(0.5, 20)
        update(saved, values[:cut])
        restored.load_state_dict(saved.state_dict())
        averages = update(restored, values[cut:]) or [restored.embedding.weights["clip_l"].detach()[0]]
        assert torch.equal(averages[-1], expected)


def test_a_lengthened_run_averages_its_own_last_steps():
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    average = tail_average(0.25, 20)
    update(average, values[:20])
    average.set_max_steps(40)
    torch.testing.assert_close(update(average, values[20:])[-1], values[30:].mean(0))


def test_tail_average_ignores_numbers_that_are_not_finite():
    average = tail_average(0.5, 4)
    values = torch.ones(4, 3)
    values[3, 0] = torch.nan
    assert torch.equal(update(average, values)[-1], torch.ones(3))


def test_a_run_exports_the_average_and_trains_as_without_it(model, tmp_path):
    plain = fit(tmp_path, model, [], max_steps=6)
    with_average = fit(tmp_path, model, [], max_steps=6, average_last=0.5)
    trained = with_average.learned_tokens[0].embedding.weights["clip_l"].detach()
    assert torch.equal(vectors(plain), trained)
    ends = [fit(tmp_path, model, [], max_steps=n) for n in (4, 5, 6)]
    torch.testing.assert_close(vectors(with_average), torch.stack([vectors(end) for end in ends]).mean(0))
    assert not torch.equal(vectors(with_average), trained)


@pytest.mark.parametrize("at", [2, 4])
def test_a_resumed_run_is_bit_identical(model, tmp_path, at):
    checkpoints = Checkpoints(tmp_path, every_n_steps=2, total_limit=None)
    uninterrupted = fit(tmp_path, model, [checkpoints], max_steps=6, average_last=0.5)
    resumed = fit(tmp_path, model, [], max_steps=6, average_last=0.5, resume=checkpoint_path(tmp_path, at))
    assert torch.equal(vectors(uninterrupted), vectors(resumed))
    with pytest.raises(UserError, match=r"embedding\.average_last was 0\.5 and is 0\.0"):
        fit(tmp_path, model, [], max_steps=6, resume=checkpoint_path(tmp_path, at))


def test_two_averages_are_an_error():
    with pytest.raises(UserError, match=r"two averages of the same vectors\. Set one of them to 0"):
        EmbeddingConfig(ema=0.9, average_last=0.2)
    with pytest.raises(UserError, match=r"embedding\.average_last=1\.0: must be 0"):
        EmbeddingConfig(average_last=1.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=schedule_free", r"embedding\.average_last=0\.2: this optimizer averages"),
        ("early_stopping=dvar", r"embedding\.average_last=0\.2: needs a fixed run length"),
    ],
)
def test_incompatible_settings_are_an_error_before_the_model_loads(compose, override, message):
    cfg = compose("+experiment=cat_toy", override)
    with pytest.raises(UserError, match=message):
        try_optimizer(cfg, {"": EmbeddingConfig(average_last=0.2)})
    try_optimizer(cfg, {"": EmbeddingConfig()})
