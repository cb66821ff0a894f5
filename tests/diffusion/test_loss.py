import pytest
import torch
from diffusers.training_utils import compute_loss_weighting_for_sd3

from tinv.diffusion.flow import FlowProcess
from tinv.diffusion.loss import DiffusionLoss
from tinv.diffusion.process import DDPMProcess
from tinv.errors import UserError

ALPHAS = torch.linspace(0.99, 0.01, 100)
EPSILON, V = (DDPMProcess(ALPHAS, kind) for kind in ("epsilon", "v_prediction"))
T = torch.tensor([1, 50, 98])
TARGET = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def loss_of(predicted, process=EPSILON, t=T, mask=None, **settings):
    return DiffusionLoss(**settings)(predicted, TARGET, t_B=t, process=process, mask_B1HW=mask)


def weight(process, t, **settings):
    """The factor that the settings give the loss of one timestep."""
    return loss_of(TARGET + 1, process, t=torch.tensor([t] * 3), **settings)[0].item()


def test_the_loss_is_the_mean_squared_error():
    assert loss_of(TARGET).tolist() == [0, 0, 0]
    torch.testing.assert_close(loss_of(TARGET + 2), torch.full((3,), 4.0))


def test_half_precision_predictions_are_compared_in_float32():
    assert loss_of(TARGET.bfloat16() + 100).dtype == torch.float32


def test_min_snr_changes_only_nearly_clean_timesteps():
    plain, capped = loss_of(TARGET + 1), loss_of(TARGET + 1, snr_gamma=5.0)
    assert capped[0] < 0.2 * plain[0] and torch.equal(capped[1:], plain[1:])


@pytest.mark.parametrize("t", [0, 30, 99])
def test_debiased_weights(t):
    """1 / sqrt(snr) for epsilon; for v that times snr / (snr + 1)."""
    a = 0.99 + t / 99 * (0.01 - 0.99)
    snr = a / (1 - a)
    assert weight(EPSILON, t, snr_power=0.5) == pytest.approx(snr**-0.5, rel=1e-4)
    assert weight(V, t, snr_power=0.5) == pytest.approx(snr**0.5 / (snr + 1), rel=1e-4)
    assert weight(EPSILON, t, snr_power=0.0) == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"snr_gamma": 5.0}, {"snr_power": 0.5}])
def test_an_error_of_the_image_costs_the_same_with_epsilon_and_v(settings):
    """An error of 1 in x is an error of sqrt(snr) in epsilon and of sqrt(snr + 1) in v."""
    for t in (5, 50, 95):
        a = ALPHAS[t].item()
        snr = a / (1 - a)
        costs = weight(EPSILON, t, **settings) * snr, weight(V, t, **settings) * (snr + 1)
        assert costs[0] == pytest.approx(costs[1], rel=1e-4)


@pytest.mark.parametrize("scheme", ["sigma_sqrt", "cosmap"])
def test_weightings_of_flow_models_are_those_of_diffusers(scheme):
    t = torch.tensor([3.0, 250.0, 999.5])
    flow = FlowProcess(lambda size: 3.0)
    expected = compute_loss_weighting_for_sd3(scheme, t / 1000)
    torch.testing.assert_close(loss_of(TARGET + 1, flow, t, weighting_scheme=scheme), expected)
    assert loss_of(TARGET + 1, flow, torch.zeros(3), weighting_scheme=scheme).isfinite().all()
    with pytest.raises(UserError, match=f"weighting_scheme={scheme}: is for flow-matching models, but .* epsilon"):
        DiffusionLoss(weighting_scheme=scheme).check(EPSILON)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting_scheme": "cosmap", "snr_power": 0.5}, r"weighting_scheme=cosmap: loss\.snr_gamma=None and"),
        ({"snr_gamma": 5.0, "snr_power": 0.5}, r"snr_gamma=5\.0, loss\.snr_power=0\.5: both weight the same"),
        ({"snr_power": 2}, r"loss\.snr_power=2: must be between 0 \(off\) and 1"),
        ({"snr_gamma": 0.0}, r"loss\.snr_gamma=0\.0: must be above 0"),
    ],
)
def test_invalid_settings_are_an_error(settings, message):
    with pytest.raises(UserError, match=message):
        DiffusionLoss(**settings)


def test_a_mask_excludes_what_it_covers():
    predicted, mask = TARGET.clone(), torch.ones(3, 1, 8, 8)
    predicted[..., :4], mask[..., :4] = 1e6, 0
    predicted[..., 4:] += 3
    torch.testing.assert_close(loss_of(predicted, mask=mask), torch.full((3,), 9.0))


@pytest.mark.parametrize("value", [1.0, 0.3, 255.0])
def test_a_constant_mask_changes_nothing(value):
    plain, masked = loss_of(TARGET * 1.7), loss_of(TARGET * 1.7, mask=torch.full((3, 1, 8, 8), value))
    assert torch.equal(plain, masked) if value == 1 else torch.allclose(plain, masked)


def test_the_loss_does_not_depend_on_the_size_of_the_mask():
    mask = torch.zeros(3, 1, 8, 8)
    mask[0, :, :1, :1], mask[1, :, :4], mask[2] = 1, 1, 1
    torch.testing.assert_close(loss_of(TARGET + 2, mask=mask), torch.full((3,), 4.0))
