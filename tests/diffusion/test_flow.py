"""The flow-matching process against diffusers' schedulers and training functions."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.training_utils import compute_density_for_timestep_sampling

from tinv.diffusion.flow import FlowProcess
from tinv.diffusion.process import DDPMProcess
from tinv.diffusion.timestep_samplers import (
    LogitNormalTimesteps,
    LogSNRTimesteps,
    ModeTimesteps,
    RangeTimesteps,
    levels_at_quantiles,
)
from tinv.errors import UserError
from tinv.models.schedulers import flow_process

PLAIN = FlowProcess(lambda size: 1.0)
SIZE = (64, 48)
SCHEDULERS = {
    "static": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "exponential": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    "linear": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="linear"),
}
GRID = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000


def latents(batch=4):
    return torch.randn(2, batch, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_timesteps_have_the_schedulers_own_shift(name):
    """As in a sample: `set_timesteps` of the same levels, with mu as the pipelines compute it."""
    scheduler, level = SCHEDULERS[name], np.linspace(1, 0.02, 50)
    mu = calculate_shift(32 * 24, 256, 4096, 0.5, 1.15) if name != "static" else None
    scheduler.set_timesteps(sigmas=level, mu=mu)
    ours = flow_process(scheduler, patch_size=2).timesteps(torch.tensor(level), SIZE)
    torch.testing.assert_close(ours, scheduler.timesteps, rtol=1e-5, atol=1e-3)


def test_noisy_latents_are_those_of_the_scheduler():
    x, noise = latents()
    scheduler = FlowMatchEulerDiscreteScheduler()
    t = scheduler.timesteps[[0, 300, 700, 999]]
    torch.testing.assert_close(PLAIN.add_noise(x, noise, t), scheduler.scale_noise(x, t, noise))


def test_the_target_leads_from_noisy_to_clean_latents():
    x, noise = latents()
    t = torch.tensor([1.0, 250.0, 600.0, 1000.0])
    noisy, s = PLAIN.add_noise(x, noise, t), (t / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy - s * PLAIN.target(x, noise, t), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [("min_snr_weights", 5.0), ("snr_power_weights", 0.5), ("snr_power_weights", 0.2)])
def test_an_error_of_the_image_costs_the_same_as_with_epsilon(settings):
    """An error of 1 in x is one of 1 / s in the velocity and of sqrt(snr) in epsilon."""
    method, value = settings
    for s in (0.1, 0.5, 0.9):
        snr = ((1 - s) / s) ** 2
        ddpm = DDPMProcess(torch.tensor([snr / (1 + snr)], dtype=torch.float64), "epsilon")
        of_flow = getattr(PLAIN, method)(torch.tensor([1000 * s]), value) / s**2
        of_epsilon = getattr(ddpm, method)(torch.tensor([0]), value) * snr
        assert of_flow.item() == pytest.approx(of_epsilon.item(), rel=1e-4)


def test_weights_are_finite_at_both_ends():
    ends = torch.tensor([0.0, 1000.0])
    assert PLAIN.min_snr_weights(ends, 5.0).tolist() == PLAIN.snr_power_weights(ends, 0.5).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (LogitNormalTimesteps(logit_mean=0.0, logit_std=1.0), {"weighting_scheme": "logit_normal"}),
        (LogitNormalTimesteps(logit_mean=0.5, logit_std=0.7), {"weighting_scheme": "logit_normal"}),
        (ModeTimesteps(mode_scale=1.29), {"weighting_scheme": "mode", "mode_scale": 1.29}),
        (ModeTimesteps(mode_scale=-0.5), {"weighting_scheme": "mode", "mode_scale": -0.5}),
    ],
)
def test_levels_are_distributed_as_by_diffusers(sampler, options):
    if isinstance(sampler, LogitNormalTimesteps):
        options = options | {"logit_mean": sampler.logit_mean, "logit_std": sampler.logit_std}
    expected = compute_density_for_timestep_sampling(
        **options, batch_size=400_000, generator=torch.Generator().manual_seed(0)
    )
    ours = levels_at_quantiles(GRID, sampler.weights(PLAIN))
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    torch.testing.assert_close(ours.float().quantile(shares), expected.quantile(shares), atol=4e-3, rtol=0)
    assert (ours.diff() >= 0).all() and 0 < ours.min() < ours.max() < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogSNRTimesteps().weights(PLAIN), "timestep_sampler=logsnr: a flow-matching model"),
        (lambda: RangeTimesteps(high=2000).weights(PLAIN), "high=2000: the model has 1000 timesteps"),
        (lambda: LogitNormalTimesteps(logit_std=0.0), "logit_std=0.0: must be above 0"),
        (lambda: ModeTimesteps(mode_scale=2.0), "mode_scale=2.0: must be -1 to 1.75"),
    ],
)
def test_invalid_settings_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()
