import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.training_utils import compute_snr

from tinv.diffusion.process import min_snr_weights, noise_latents, sample_moments, target, timesteps

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
ALPHAS = SCHEDULER.alphas_cumprod


def draws(batch=6):
    stream = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, batch, 4, 8, 8, generator=stream)
    return x, noise, torch.randint(1000, (batch,), generator=stream)


def test_noising_is_the_one_of_diffusers():
    x, noise, t = draws()
    assert torch.equal(noise_latents(x, noise, t, ALPHAS), SCHEDULER.add_noise(x, noise, t))


def test_noising_keeps_unit_variance_at_every_timestep():
    stream = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 10, 4, 64, 64, generator=stream)
    noisy = noise_latents(x, noise, torch.arange(0, 1000, 100), ALPHAS)
    assert (noisy.var(dim=(1, 2, 3)) - 1).abs().max() < 0.05


def test_targets_are_those_of_diffusers():
    x, noise, t = draws()
    options = {"clean_BCHW": x, "noise_BCHW": noise, "t_B": t, "alphas_cumprod_T": ALPHAS}
    assert target("epsilon", **options) is noise
    torch.testing.assert_close(target("v_prediction", **options), SCHEDULER.get_velocity(x, noise, t))


def test_from_v_and_the_noisy_latents_the_clean_ones_come_back():
    x, noise, t = (tensor.double() if tensor.is_floating_point() else tensor for tensor in draws())
    alphas = ALPHAS.double()
    v = target("v_prediction", clean_BCHW=x, noise_BCHW=noise, t_B=t, alphas_cumprod_T=alphas)
    a = alphas[t].view(-1, 1, 1, 1)
    torch.testing.assert_close(a.sqrt() * noise_latents(x, noise, t, alphas) - (1 - a).sqrt() * v, x)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_the_papers(prediction_type):
    t = torch.arange(1000)
    snr = compute_snr(SCHEDULER, t)
    expected = snr.clamp(max=5) / (snr if prediction_type == "epsilon" else snr + 1)
    torch.testing.assert_close(min_snr_weights(prediction_type, t_B=t, alphas_cumprod_T=ALPHAS, gamma=5.0), expected)


def test_levels_reach_every_timestep_and_none_beyond():
    level = torch.linspace(0, 1, 100_001, dtype=torch.float64)[:-1]
    assert timesteps(level, 1000).unique().tolist() == list(range(1000))
    assert timesteps(torch.tensor([1 - 1e-17], dtype=torch.float64), 1000).tolist() == [999]


def test_posterior_samples_are_those_of_diffusers():
    moments = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(3)) * 20
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    expected = DiagonalGaussianDistribution(moments).sample(torch.Generator().manual_seed(5))
    assert torch.equal(sample_moments(moments, noise), expected)
