"""Stage 6, unet: trains the denoiser."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel

from tinv.diffusion.process import DDPMProcess
from tinv.models.cpu_features import autocast_bfloat16
from tinv.toybox.pretrain import checkpoint, parallel
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.pretrain.settings import UnetSettings

TIMESTEPS = 1000
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The noise schedule of Stable Diffusion 1.x.

The mean of a channel over 16 x 16 latents is still visible at the last timestep, so the initial noise tints the
backgrounds. A `beta_end` of 0.02 would hide it, but needs a precision of a hundredth of the noise, which no training of
a reasonable length reached.
"""
POSTERIOR_STD = 0.05
"""Standard deviation of the encoder's posterior, exp(-6 / 2)."""


@dataclass(frozen=True)
class TrainingSet:
    """The training data of the denoiser."""

    latents: Tensor
    """Scaled posterior means, [N, 8, 16, 16]; a second half may hold the mirror images of the first."""
    ids: Tensor
    """Token ids, [N, K, 77] int16, K captions of each image."""
    empty: Tensor
    """Token ids of the empty caption, [77]."""
    scaling: float
    """The VAE's scaling factor, which the latents are already multiplied by."""


@dataclass(frozen=True)
class NoisyBatch:
    """A batch of noisy latents and the noise to predict."""

    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    text: Tensor


def new_unet(settings: UnetSettings, *, latent_channels: int, text_width: int) -> UNet2DConditionModel:
    """Returns an untrained denoiser with cross-attention at all levels except the finest."""
    levels = len(settings.widths)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D"),
        block_out_channels=settings.widths,
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def draw_batch(
    training_set: TrainingSet, text_encoder: CLIPTextModel, settings: UnetSettings, chosen: Tensor, rng: torch.Generator
) -> NoisyBatch:
    """Returns noise, timesteps and captions for the chosen images: this process's share.

    Args:
        training_set: the latents and captions.
        text_encoder: frozen.
        settings: device and caption dropout.
        chosen: indices of images, [B].
        rng: source of all randomness.
    """
    size, device = len(chosen), settings.device
    latents = training_set.latents[chosen].float()
    latents = latents + training_set.scaling * POSTERIOR_STD * torch.randn(latents.shape, generator=rng)
    wording = torch.randint(0, training_set.ids.shape[1], (size,), generator=rng)
    ids = training_set.ids[chosen % len(training_set.ids), wording].long()
    ids[torch.rand(size, generator=rng) < settings.caption_dropout] = training_set.empty.long()
    timesteps = torch.randint(0, TIMESTEPS, (size,), generator=rng)
    noise = torch.randn(latents.shape, generator=rng)
    noisy = DDPMScheduler(**BETAS).add_noise(latents, noise, timesteps)
    noisy, noise, timesteps, ids = (parallel.share(tensor).to(device) for tensor in (noisy, noise, timesteps, ids))
    with torch.no_grad(), autocast_bfloat16(device):
        text = text_encoder(ids).last_hidden_state
    return NoisyBatch(noisy, noise, timesteps, text)


def noise_errors(unet: UNet2DConditionModel, batch: NoisyBatch) -> Tensor:
    """Returns the mean squared error of the predicted noise, [B]."""
    with autocast_bfloat16(batch.noisy.device.type):
        predicted = unet(batch.noisy, batch.timesteps, encoder_hidden_states=batch.text).sample
    return (predicted.float() - batch.noise).square().mean((1, 2, 3))


@torch.no_grad()
def held_out_error(
    unet: UNet2DConditionModel, training_set: TrainingSet, text_encoder: CLIPTextModel, settings: UnetSettings
) -> float:
    """Returns the mean squared error on unseen images with fixed timesteps and noise."""
    rng = generator(settings.seed + 1, 0)
    parts = torch.arange(len(training_set.ids)).split(100)
    batches = (draw_batch(training_set, text_encoder, settings, part, rng) for part in parts)
    return parallel.mean(torch.cat([noise_errors(unet, batch) for batch in batches]).mean())


def train_unet(
    out: Path, training_set: TrainingSet, unseen: TrainingSet, text_encoder: CLIPTextModel, settings: UnetSettings
) -> None:
    """Trains the denoiser into `out/unet`.

    If that folder exists without a checkpoint (`unpack`), training starts from its weights. Every checkpoint writes the
    averaged weights to it, and the progress to `out/unet.json`. On a CPU, plain attention takes a third less time than
    torch's fused attention, whose backward pass is slow there.
    """
    torch.manual_seed(settings.seed)
    text_width = text_encoder.config.hidden_size
    unet = new_unet(settings, latent_channels=training_set.latents.shape[1], text_width=text_width).to(settings.device)
    if settings.device == "cpu":
        unet.to(memory_format=torch.channels_last)
        unet.set_attn_processor(AttnProcessor())
    process = DDPMProcess(DDPMScheduler(**BETAS).alphas_cumprod.to(settings.device), "epsilon")
    steps, step, seen = settings.samples // settings.batch, 0, 0
    state = checkpoint.load(out / "unet.pt")
    if state is None and (out / "unet").exists():
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(out / "unet").state_dict())
        seen = json.loads((out / "unet.json").read_text())["samples"]
    optimizers = build_optimizers(unet, muon_rate=settings.muon_rate, rate=settings.rate)
    average = checkpoint.Average(unet)
    if state is not None:
        unet.load_state_dict(state["unet"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["tools"], strict=True):
            optimizer.load_state_dict(saved)
        step, seen = state["step"], state["samples"]
    recent: list[float] = []
    while step < steps:
        for optimizer in optimizers:
            set_learning_rate(optimizer, learning_rate(step, steps, 1.0, decay=settings.decay))
        rng = generator(settings.seed, step)
        chosen = torch.randint(0, len(training_set.latents), (settings.batch,), generator=rng)
        batch = draw_batch(training_set, text_encoder, settings, chosen, rng)
        error = noise_errors(unet, batch)
        unet.zero_grad()
        weights = process.min_snr_weights(batch.timesteps, settings.snr_gamma)
        (error * weights).mean().backward()
        parallel.average_gradients(unet)
        for optimizer in optimizers:
            optimizer.step()
        average.update(step)
        step, seen = step + 1, seen + settings.batch
        recent.append(float(error.detach().mean()))
        if step % 50 == 0 and parallel.rank() == 0:
            print(f"unet: step {step}/{steps}, loss {np.mean(recent[-50:]):.4f}", flush=True)
        if step % settings.checkpoint_every == 0 or step in (steps, settings.stop_at):
            state = {
                "unet": unet.state_dict(),
                "average": average.state(),
                "tools": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
                "samples": seen,
            }
            average.swap()
            loss = held_out_error(unet, unseen, text_encoder, settings)
            if parallel.rank() == 0:
                _publish(out, unet, facts={"steps": step, "samples": seen, "held_out_loss": loss})
            average.swap()
            if parallel.rank() == 0:
                checkpoint.save(out / "unet.pt", state)
        if step == settings.stop_at:
            return


def _publish(out: Path, unet: UNet2DConditionModel, *, facts: dict[str, Any]) -> None:
    """Writes the current weights and the facts about them."""
    print(f"unet: {facts}", flush=True)
    partial = out / "unet.part"
    unet.save_pretrained(partial)
    checkpoint.replace_folder(partial, out / "unet")
    checkpoint.write_json(out / "unet.json", facts)
