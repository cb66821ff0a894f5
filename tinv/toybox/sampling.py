"""Draws samples from the toybox pipeline in batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from tinv.models.cpu_features import autocast_bfloat16
from tinv.silence import quiet
from tinv.toybox import PIPELINE
from tinv.toybox.clip_features import to_pixels

with quiet():  # its import advises to install torchvision
    from diffusers import DiffusionPipeline, FluxPipeline, StableDiffusionPipeline

ToyboxPipeline: TypeAlias = StableDiffusionPipeline | FluxPipeline
NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 4.5
FLOW_GUIDANCE_SCALE = 3.5
FLOW_SIZES = {"height": 64, "width": 64, "max_sequence_length": 64}
"""What the flow model was trained with; the defaults of `FluxPipeline` are those of large models."""
BATCH = 32


def load_pipeline(folder: Path = PIPELINE) -> ToyboxPipeline:
    """Loads a pipeline without a progress bar: Stable Diffusion with DPM-Solver++, Flux with its own scheduler."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    if isinstance(pipeline, StableDiffusionPipeline):
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def sample(
    pipeline: ToyboxPipeline,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    num_inference_steps: int = NUM_INFERENCE_STEPS,
    guidance_scale: float | None = None,
) -> np.ndarray:
    """Returns an image for each prompt, [B, 64, 64, 3] uint8; image i is a function of its prompt, `seed` and i."""
    images = []
    for start in range(0, len(prompts), BATCH):
        part = list(prompts[start : start + BATCH])
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(part))]
        with autocast_bfloat16(pipeline.device.type):
            result = pipeline(
                part,
                num_inference_steps=num_inference_steps,
                generator=generators,
                output_type="np",
                **guidance_arguments(pipeline, len(part), guidance_scale),
            )
        images.append((result.images * 255).round().astype(np.uint8))
    return np.concatenate(images)


def guidance_arguments(pipeline: ToyboxPipeline, count: int, scale: float | None) -> dict[str, Any]:
    """Returns the arguments for classifier-free guidance, and for Flux those of the toybox's sizes."""
    if not isinstance(pipeline, FluxPipeline):
        return {"guidance_scale": GUIDANCE_SCALE if scale is None else scale}
    return {
        "true_cfg_scale": FLOW_GUIDANCE_SCALE if scale is None else scale,
        "negative_prompt": [""] * count,
        **FLOW_SIZES,
    }


@torch.no_grad()
def denoising_losses(pipeline: ToyboxPipeline, images: np.ndarray, captions: Sequence[str], *, seed: int = 0) -> Tensor:
    """Returns the denoising loss [B] of each image with its caption.

    It is the mean over eight stratified timesteps. Timesteps and noise depend only on `seed`, so that the losses of two
    captions of the same images can be compared. For Flux, it is the error of the velocity, at levels in [0, 1).
    """
    if isinstance(pipeline, FluxPipeline):
        return _flow_denoising_losses(pipeline, images, captions, seed=seed)
    noise_schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    latents = pipeline.vae.encode(to_pixels(images)).latent_dist.mean * pipeline.vae.config.scaling_factor
    text = pipeline.encode_prompt(list(captions), pipeline.device, 1, False)[0]
    rng = torch.Generator().manual_seed(seed)
    draws = 8
    losses = torch.zeros(len(images))
    for draw in range(draws):
        strata = torch.rand(len(images), generator=rng) + draw
        timesteps = (strata / draws * noise_schedule.config.num_train_timesteps).long()
        noise = torch.randn(latents.shape, generator=rng)
        noisy = noise_schedule.add_noise(latents, noise, timesteps)
        with autocast_bfloat16(pipeline.device.type):
            predicted = pipeline.unet(noisy, timesteps, encoder_hidden_states=text).sample
        losses += (predicted.float() - noise).square().mean((1, 2, 3)) / draws
    return losses


def _flow_denoising_losses(pipeline: FluxPipeline, images: np.ndarray, captions: Sequence[str], *, seed: int) -> Tensor:
    latents = pipeline.vae.encode(to_pixels(images)).latent_dist.mean * pipeline.vae.config.scaling_factor
    length = FLOW_SIZES["max_sequence_length"]
    text, pooled, text_ids = pipeline.encode_prompt(list(captions), max_sequence_length=length)
    side = latents.shape[2] // 2
    image_ids = pipeline._prepare_latent_image_ids(1, side, side, latents.device, latents.dtype)
    rng = torch.Generator().manual_seed(seed)
    draws = 8
    losses = torch.zeros(len(images))
    for draw in range(draws):
        levels = (torch.rand(len(images), generator=rng) + draw) / draws
        noise = torch.randn(latents.shape, generator=rng)
        share = levels[:, None, None, None]
        noisy, velocity = (1 - share) * latents + share * noise, noise - latents
        with autocast_bfloat16(pipeline.device.type):
            predicted = pipeline.transformer(
                hidden_states=pipeline._pack_latents(noisy, *noisy.shape),
                encoder_hidden_states=text,
                pooled_projections=pooled,
                timestep=levels,
                img_ids=image_ids,
                txt_ids=text_ids,
                return_dict=False,
            )[0]
        error = predicted.float() - pipeline._pack_latents(velocity, *velocity.shape)
        losses += error.square().mean((1, 2)) / draws
    return losses
