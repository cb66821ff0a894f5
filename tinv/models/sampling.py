"""Images from prompts, through diffusers' pipelines and schedulers."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tinv.errors import UserError
from tinv.models.base import LatentDiffusion
from tinv.models.conditioning import encode_all_parts, route_by_timestep
from tinv.silence import quiet
from tinv.token_parts import SlotLayout, has_negative, has_parts, mentioned, mentions
from tinv.types import Conditioning, Vectors

DPM, DDIM, FLOW = "dpm", "ddim", "flow"
SAMPLERS = {DPM: "DPM-Solver++ (2M)", DDIM: "DDIM (eta 0)", FLOW: "the scheduler of the flow-matching model"}
"""The samplers, and what records call them."""


def generate_images(
    model: LatentDiffusion, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any
) -> list[Image.Image]:
    """One image per prompt; each depends on its own prompt and seed alone. `sample_pixels` has the options."""
    return to_images(sample_pixels(model, prompts, vectors, seeds=seeds, **options))


@torch.no_grad()
def sample_pixels(
    model: LatentDiffusion,
    prompts: Sequence[str],
    vectors: Vectors,
    *,
    seeds: Sequence[int],
    num_inference_steps: int = 25,
    guidance_scale: float | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    batch_size: int = 8,
    sampler: str | None = None,
) -> Tensor:
    """The pixels of one image per prompt, [B, 3, H, W] in [0, 1], float32 on the CPU.

    They are non-finite where the model's output was.

    Args:
        model: the frozen model.
        prompts: B texts that may contain learned tokens.
        vectors: of the learned tokens.
        seeds: B seeds; an image depends on its own prompt and seed alone.
        num_inference_steps: of the sampler; 20 to 30 are enough for `dpm`, 50 for `ddim`.
        guidance_scale: classifier-free guidance scale, or that of a distilled model; 1 turns it off. None is the usual
            one of the model's family.
        height: in pixels; None is the model's own size.
        width: likewise.
        negative_prompt: what to steer away from.
        batch_size: how many images are computed at once; only memory and speed depend on it.
        sampler: of `SAMPLERS`; None is the model's default. See `build_scheduler`.
    """
    assert len(prompts) == len(seeds)
    pipeline = model.pipeline(build_scheduler(sampler, model))
    pipeline.set_progress_bar_config(disable=True)
    guidance_scale = model.family.guidance_scale if guidance_scale is None else guidance_scale
    height, width = height or model.resolution, width or model.resolution
    negative_prompts, layout = [negative_prompt] * len(prompts), None
    if has_parts(vectors):
        vectors = mentioned(vectors, [*prompts, negative_prompt])
        negative_prompts = [negative_prompt_of(prompt, vectors, negative_prompt) for prompt in prompts]
        layout = SlotLayout.of(vectors.values())

    def encode(texts: Sequence[str], *, is_negative: bool) -> Conditioning:
        if layout is None:
            return model.encode_text(texts, vectors, is_negative=is_negative)
        return encode_all_parts(model, texts, vectors, layout, is_negative=is_negative)

    pixels = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        positive = encode(prompts[part], is_negative=False)
        negative: Conditioning | None = None
        if any(negative_prompts[part]) or not (model.is_guidance_distilled or model.force_zeros_for_empty_prompt):
            negative = encode(negative_prompts[part], is_negative=True)
        elif not model.is_guidance_distilled:
            negative = _zeros_like(positive)
        with route_by_timestep(model.denoiser, layout.stages, *model.timestep_range) if layout else nullcontext():
            latents = pipeline(
                **model.family.sampling_arguments(model, positive, negative, guidance_scale),
                **model.family.call_options,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                num_inference_steps=num_inference_steps,
                height=height,
                width=width,
                output_type="latent",
            ).images
        if model.family.unpack_latents:
            latents = model.family.unpack_latents(latents, height, width, pipeline.vae_scale_factor)
        pixels.append(model.decode_latents(latents, is_scaled=not model.family.returns_unscaled_latents).cpu())
    return torch.cat(pixels)


def negative_prompt_of(prompt: str, vectors: Vectors, negative_prompt: str) -> str:
    """The negative prompt, after the prompt itself if that mentions a token that has a negative."""
    is_guided = any(has_negative(names) and mentions(token, [prompt]) for token, names in vectors.items())
    return ", ".join(filter(None, [prompt if is_guided else "", negative_prompt]))


def to_images(pixels_B3HW: Tensor) -> list[Image.Image]:
    """8-bit images of pixels in [0, 1]; non-finite pixels become black."""
    bytes_BHW3 = (pixels_B3HW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(image.numpy()) for image in bytes_BHW3]


def check_sampler(name: str) -> None:
    """Refuse an unknown sampler.

    Raises:
        UserError: there is no sampler of this name.
    """
    if name not in SAMPLERS:
        raise UserError(f"--sampler={name}: unknown sampler. Use {DPM}, {DDIM} or {FLOW}.")


def build_scheduler(sampler: str | None, model: LatentDiffusion) -> Any:
    """A diffusers scheduler over a model's noise schedule.

    Args:
        sampler: `dpm`, DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), or `ddim`, DDIM (Song et al. 2020, arXiv
            2010.02502), as latent diffusion uses it: nothing is clipped, and the last step ends at the schedule's
            first level. `flow`, for flow-matching models: their own. None is `flow` for them, `dpm` for others.
        model: the frozen model.

    Raises:
        UserError: there is no sampler of this name, or it is not for this kind of model.
    """
    is_flow, scheduler = model.noise_process.prediction_type == FLOW, model.scheduler
    sampler = sampler or (FLOW if is_flow else DPM)
    check_sampler(sampler)
    if (sampler == FLOW) != is_flow:
        raise UserError(f"--sampler={sampler}: is not for {model.family.title}. Leave it out for the default.")
    if is_flow:
        return type(scheduler).from_config(scheduler.config)
    with quiet():
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
    if sampler == DDIM:
        return DDIMScheduler.from_config(scheduler.config, clip_sample=False, set_alpha_to_one=False)
    return DPMSolverMultistepScheduler.from_config(scheduler.config)


def _zeros_like(conditioning: Conditioning) -> Conditioning:
    pooled = conditioning.pooled
    zeros = None if pooled is None else torch.zeros_like(pooled)
    return replace(conditioning, hidden=torch.zeros_like(conditioning.hidden), pooled=zeros)
