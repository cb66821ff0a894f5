"""The moving average of the rows."""

import torch

from tinv.embeddings import EmbeddingConfig, TokenParameters
from tinv.embeddings.averaging import EMA


def at(*values: float) -> TokenParameters:
    return TokenParameters("<cat-toy>", {"clip_l": torch.tensor([values])})


def shown(average: EMA) -> torch.Tensor:
    return average.embedding.vectors()["<cat-toy>"]["clip_l"].detach()


def test_it_is_the_recursion_that_its_docstring_states():
    rows, expected = at(0.0, 1.0), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    average = EMA(rows, decay=0.5)
    for n in range(1, 30):
        with torch.no_grad():
            rows.weights["clip_l"].add_(torch.tensor([[1.0, -0.5]]))
        average.update(rows)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * rows.weights["clip_l"].detach()
        torch.testing.assert_close(shown(average), expected.float())


def test_rows_that_stand_still_are_their_own_average():
    rows = at(0.3, -0.7)
    average = EMA(rows, decay=0.999)
    for _ in range(5):
        average.update(rows)
    torch.testing.assert_close(shown(average), torch.tensor([[0.3, -0.7]]))


def test_the_start_is_soon_forgotten_whatever_the_decay():
    rows = at(0.0)
    average = EMA(rows, decay=0.9999)
    with torch.no_grad():
        rows.weights["clip_l"].fill_(1.0)
    for _ in range(50):
        average.update(rows)
    assert shown(average).item() > 0.99


def test_it_is_no_view_of_the_rows_and_takes_in_finite_numbers_only():
    rows = at(1.0, 2.0)
    average = EMA(rows, decay=0.5)
    with torch.no_grad():
        rows.weights["clip_l"].copy_(torch.tensor([[float("nan"), float("inf")]]))
    assert torch.equal(shown(average), torch.tensor([[1.0, 2.0]]))
    average.update(rows)
    assert torch.equal(shown(average), torch.tensor([[1.0, 2.0]]))


def test_what_is_saved_goes_on_with_the_same_decay():
    rows = at(1.0)
    one, other = EMA(rows, decay=0.9), EMA(at(0.0), decay=0.9)
    for _ in range(3):
        with torch.no_grad():
            rows.weights["clip_l"].add_(1.0)
        one.update(rows)
    other.load_state_dict(one.state_dict())
    for average in (one, other):
        average.update(at(-5.0))
    assert torch.equal(shown(one), shown(other))


def test_it_stays_float32_and_is_never_trained():
    average = EMA(at(0.1), decay=0.9).to(torch.bfloat16)
    assert shown(average).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_none_is_kept_unless_asked_for():
    assert EmbeddingConfig().build_average(at(0.0)) is None
