import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.training_utils import compute_snr

from tinv.diffusion.process import DDPMProcess, sample_moments
from tinv.errors import UserError

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
EPSILON, V = (DDPMProcess(SCHEDULER.alphas_cumprod, kind) for kind in ("epsilon", "v_prediction"))


def latents_noise_timesteps(batch=6):
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, batch, 4, 8, 8, generator=rng)
    return x, noise, torch.randint(1000, (batch,), generator=rng)


def test_add_noise_and_targets_are_those_of_diffusers():
    x, noise, t = latents_noise_timesteps()
    assert torch.equal(EPSILON.add_noise(x, noise, t), SCHEDULER.add_noise(x, noise, t))
    assert EPSILON.target(x, noise, t) is noise
    torch.testing.assert_close(V.target(x, noise, t), SCHEDULER.get_velocity(x, noise, t))


def test_noisy_latents_have_unit_variance_at_every_timestep():
    x, noise = torch.randn(2, 10, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    noisy = EPSILON.add_noise(x, noise, torch.arange(0, 1000, 100))
    assert (noisy.var(dim=(1, 2, 3)) - 1).abs().max() < 0.05


def test_v_and_the_noisy_latents_give_the_clean_latents():
    x, noise, t = latents_noise_timesteps()
    process = DDPMProcess(SCHEDULER.alphas_cumprod.double(), "v_prediction")
    x, noise, a = x.double(), noise.double(), process.alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy, v = process.add_noise(x, noise, t), process.target(x, noise, t)
    torch.testing.assert_close(a.sqrt() * noisy - (1 - a).sqrt() * v, x)


@pytest.mark.parametrize("process", [EPSILON, V])
def test_min_snr_weights_are_those_of_the_paper(process):
    t = torch.arange(1000)
    snr = compute_snr(SCHEDULER, t)
    expected = snr.clamp(max=5) / (snr if process is EPSILON else snr + 1)
    torch.testing.assert_close(process.min_snr_weights(t, gamma=5.0), expected)


def test_levels_reach_every_timestep_and_none_beyond():
    level = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    assert EPSILON.timesteps(level).unique().tolist() == list(range(1000))
    assert EPSILON.timesteps(torch.tensor([1 - 1e-17], dtype=torch.float64)).tolist() == [999]


def test_other_prediction_types_are_an_error():
    with pytest.raises(UserError, match="prediction_type 'sample'"):
        DDPMProcess(SCHEDULER.alphas_cumprod, "sample")


def test_a_posterior_without_variance_is_its_mean():
    mean, noise = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    moments = torch.cat([mean, torch.full_like(mean, -torch.inf)], dim=1)
    assert torch.equal(sample_moments(moments, noise), mean)


def test_posterior_samples_are_those_of_diffusers():
    moments = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(3)) * 20
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    expected = DiagonalGaussianDistribution(moments).sample(torch.Generator().manual_seed(5))
    assert torch.equal(sample_moments(moments, noise), expected)
