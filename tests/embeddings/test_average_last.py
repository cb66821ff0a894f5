"""The mean of the rows over the last steps."""

import pytest
import torch

from tests.training.callbacks.fitting import fit, rows
from tinv.embeddings import EmbeddingConfig, TokenParameters
from tinv.embeddings.averaging import TailAverage
from tinv.errors import UserError
from tinv.training.callbacks import Checkpoints
from tinv.training.try_optimizer import try_optimizer


def walk(average: TailAverage, places: torch.Tensor) -> list[torch.Tensor]:
    """What is shown after each step of rows that go from place to place."""
    seen = []
    for place in places:
        average.update(TokenParameters("<cat-toy>", {"clip_l": place[None]}))
        seen.append(average.embedding.vectors()["<cat-toy>"]["clip_l"].detach()[0].clone())
    return seen


def average_over(share: float, max_steps: int) -> TailAverage:
    average = TailAverage(TokenParameters("<cat-toy>", {"clip_l": torch.zeros(1, 3)}), share)
    average.set_max_steps(max_steps)
    return average


@pytest.mark.parametrize(("share", "last"), [(0.2, 8), (0.5, 20), (0.001, 1), (0.999, 40)])
def test_it_is_the_rows_until_the_last_steps_and_then_their_mean(share, last):
    places = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    seen = walk(average_over(share, 40), places)
    first = 40 - last
    for n in range(first + 1):
        assert torch.equal(seen[n], places[n]), "to the last bit, up to the first of the last steps"
    for n in range(first, 40):
        torch.testing.assert_close(seen[n], places[first : n + 1].mean(0))


def test_what_is_saved_goes_on_to_the_same_bits_wherever_it_is_cut():
    places = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    whole = walk(average_over(0.5, 20), places)[-1]
    for cut in (1, 9, 10, 11, 15, 20):
        begun, rest = average_over(0.5, 20), average_over(0.5, 20)
        walk(begun, places[:cut])
        rest.load_state_dict(begun.state_dict())
        seen = walk(rest, places[cut:]) or [rest.embedding.weights["clip_l"].detach()[0]]
        assert torch.equal(seen[-1], whole)


def test_a_run_that_is_made_longer_averages_its_own_last_steps():
    places = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    average = average_over(0.25, 20)
    walk(average, places[:20])
    average.set_max_steps(40)
    torch.testing.assert_close(walk(average, places[20:])[-1], places[30:].mean(0))


def test_numbers_that_are_none_stay_out():
    average = average_over(0.5, 4)
    places = torch.ones(4, 3)
    places[3, 0] = torch.nan
    assert torch.equal(walk(average, places)[-1], torch.ones(3))


def test_a_run_exports_the_mean_and_trains_as_without_it(model, tmp_path):
    plain = fit(tmp_path, model, [], max_steps=6)
    averaged = fit(tmp_path, model, [], max_steps=6, average_last=0.5)
    trained = averaged.learned_tokens[0].embedding.weights["clip_l"].detach()
    assert torch.equal(rows(plain), trained)
    ends = [fit(tmp_path, model, [], max_steps=n) for n in (4, 5, 6)]
    torch.testing.assert_close(rows(averaged), torch.stack([rows(end) for end in ends]).mean(0))
    assert not torch.equal(rows(averaged), trained)


@pytest.mark.parametrize("at", [2, 4])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(model, tmp_path, at):
    keep = Checkpoints(tmp_path, every_n_steps=2, keep=None)
    whole = fit(tmp_path, model, [keep], max_steps=6, average_last=0.5)
    resumed = fit(tmp_path, model, [], max_steps=6, average_last=0.5, resume=keep.path(at))
    assert torch.equal(rows(whole), rows(resumed))
    with pytest.raises(UserError, match=r"embedding\.average_last was 0\.5 and is 0\.0"):
        fit(tmp_path, model, [], max_steps=6, resume=keep.path(at))


def test_two_averages_at_once_are_refused():
    with pytest.raises(UserError, match="two averages of the same rows; set one of them to 0"):
        EmbeddingConfig(ema=0.9, average_last=0.2)
    with pytest.raises(UserError, match=r"embedding\.average_last must be 0 or more and less than 1"):
        EmbeddingConfig(average_last=1.0)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer=schedule_free", r"embedding\.average_last: this optimizer averages the rows by itself"),
        ("early_stopping=dvar", r"embedding\.average_last: which steps are the last nobody knows"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_the_model_loads(compose, typed, said):
    cfg = compose("+experiment=cat_toy", typed)
    with pytest.raises(UserError, match=said):
        try_optimizer(cfg, {"": EmbeddingConfig(average_last=0.2)})
    try_optimizer(cfg, {"": EmbeddingConfig()})
