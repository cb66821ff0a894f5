import pytest
import torch

from tinv.diffusion.loss import DiffusionLoss
from tinv.diffusion.process import target
from tinv.errors import UserError
from tinv.types import NoiseSchedule

ALPHAS = torch.linspace(0.99, 0.01, 100)


def draws():
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return {"clean_BCHW": clean, "noise_BCHW": noise, "t_B": torch.tensor([1, 50, 98])}


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_loss_vanishes_at_the_target_and_only_there(prediction_type):
    schedule, given = NoiseSchedule(ALPHAS, prediction_type), draws()
    wanted = target(prediction_type, **given, alphas_cumprod_T=ALPHAS)
    assert DiffusionLoss()(wanted, **given, schedule=schedule).tolist() == [0, 0, 0]
    torch.testing.assert_close(DiffusionLoss()(wanted + 2, **given, schedule=schedule), torch.full((3,), 4.0))


def test_half_precision_predictions_are_compared_in_float32():
    given = draws()
    schedule = NoiseSchedule(ALPHAS, "epsilon")
    loss = DiffusionLoss()(given["noise_BCHW"].bfloat16() + 100, **given, schedule=schedule)
    assert loss.dtype == torch.float32


def test_min_snr_changes_the_nearly_clean_timesteps_only():
    given, schedule = draws(), NoiseSchedule(ALPHAS, "epsilon")
    wrong = given["noise_BCHW"] + 1
    plain, capped = (DiffusionLoss(snr_gamma=gamma)(wrong, **given, schedule=schedule) for gamma in (None, 5.0))
    assert capped[0] < 0.2 * plain[0] and torch.equal(capped[1:], plain[1:])


def weighted(prediction_type, t, **settings):
    """By how much the loss of one timestep is multiplied."""
    given, schedule = draws() | {"t_B": torch.tensor([t] * 3)}, NoiseSchedule(ALPHAS, prediction_type)
    wrong = target(prediction_type, **given, alphas_cumprod_T=ALPHAS) + 1
    return DiffusionLoss(**settings)(wrong, **given, schedule=schedule)[0].item()


@pytest.mark.parametrize("t", [0, 30, 99])
def test_debiased_weights_are_those_computed_by_hand(t):
    """1 / sqrt(snr) for epsilon; for v that times snr / (snr + 1)."""
    a = 0.99 + t / 99 * (0.01 - 0.99)
    snr = a / (1 - a)
    assert weighted("epsilon", t, snr_power=0.5) == pytest.approx(snr**-0.5, rel=1e-4)
    assert weighted("v_prediction", t, snr_power=0.5) == pytest.approx(snr**0.5 / (snr + 1), rel=1e-4)
    assert weighted("epsilon", t, snr_power=0.0) == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"snr_gamma": 5.0}, {"snr_power": 0.5}])
def test_one_error_of_the_picture_costs_the_same_whatever_the_model_predicts(settings):
    """An error in x of the size of 1 is sqrt(snr) in epsilon and sqrt(snr + 1) in v."""
    for t in (5, 50, 95):
        a = ALPHAS[t].item()
        snr = a / (1 - a)
        costs = weighted("epsilon", t, **settings) * snr, weighted("v_prediction", t, **settings) * (snr + 1)
        assert costs[0] == pytest.approx(costs[1], rel=1e-4)


def test_one_weight_at_a_time():
    with pytest.raises(UserError, match=r"snr_gamma=5\.0 and loss.snr_power=0\.5 weight the same"):
        DiffusionLoss(snr_gamma=5.0, snr_power=0.5)
    with pytest.raises(UserError, match="0 to 1, got 2"):
        DiffusionLoss(snr_power=2)


def test_a_mask_leaves_out_what_it_covers():
    given, schedule = draws(), NoiseSchedule(ALPHAS, "epsilon")
    wrong, mask = given["noise_BCHW"].clone(), torch.ones(3, 1, 8, 8)
    wrong[..., :4], mask[..., :4] = 1e6, 0
    wrong[..., 4:] += 3
    torch.testing.assert_close(
        DiffusionLoss()(wrong, **given, schedule=schedule, mask_B1HW=mask), torch.full((3,), 9.0)
    )


@pytest.mark.parametrize("value", [1.0, 0.3, 255.0])
def test_a_mask_that_is_the_same_everywhere_is_no_mask(value):
    given, schedule = draws(), NoiseSchedule(ALPHAS, "epsilon")
    wrong = given["noise_BCHW"] * 1.7
    plain = DiffusionLoss()(wrong, **given, schedule=schedule)
    masked = DiffusionLoss()(wrong, **given, schedule=schedule, mask_B1HW=torch.full((3, 1, 8, 8), value))
    assert torch.equal(plain, masked) if value == 1 else torch.allclose(plain, masked)


def test_the_loss_of_a_small_thing_is_as_large_as_that_of_a_large_one():
    given, schedule = draws(), NoiseSchedule(ALPHAS, "epsilon")
    mask = torch.zeros(3, 1, 8, 8)
    mask[0, :, :1, :1], mask[1, :, :4], mask[2] = 1, 1, 1
    loss = DiffusionLoss()(given["noise_BCHW"] + 2, **given, schedule=schedule, mask_B1HW=mask)
    torch.testing.assert_close(loss, torch.full((3,), 4.0))


def test_other_prediction_types_are_refused_in_words():
    with pytest.raises(UserError, match="'sample'"):
        DiffusionLoss()(draws()["noise_BCHW"], **draws(), schedule=NoiseSchedule(ALPHAS, "sample"))


def test_gamma_is_positive():
    with pytest.raises(UserError, match=r"loss\.snr_gamma"):
        DiffusionLoss(snr_gamma=0.0)
