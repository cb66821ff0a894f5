"""Images from prompts, through diffusers' pipelines and schedulers."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
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

DPM, DDIM = "dpm", "ddim"
SAMPLERS = {DPM: "DPM-Solver++ (2M)", DDIM: "DDIM (eta 0)"}
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
    guidance_scale: float = 7.5,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    batch_size: int = 8,
    sampler: str = DPM,
) -> Tensor:
    """The pixels of one image per prompt, [B, 3, H, W] in [0, 1], float32 on the CPU.

    They are non-finite where the model's output was.

    Args:
        model: the frozen model.
        prompts: B texts that may contain learned tokens.
        vectors: of the learned tokens.
        seeds: B seeds; an image depends on its own prompt and seed alone.
        num_inference_steps: of the sampler; 20 to 30 are enough for `dpm`, 50 for `ddim`.
        guidance_scale: classifier-free guidance scale; 1 turns it off.
        height: in pixels; None is the model's own size.
        width: likewise.
        negative_prompt: what to steer away from.
        batch_size: how many images are computed at once; only memory and speed depend on it.
        sampler: `dpm` or `ddim`; see `build_scheduler`.
    """
    assert len(prompts) == len(seeds)
    pipeline = model.pipeline(build_scheduler(sampler, model.scheduler.config))
    pipeline.set_progress_bar_config(disable=True)
    num_timesteps = model.noise_process.num_timesteps
    negative_prompts, layout = [negative_prompt] * len(prompts), None
    if has_parts(vectors):
        vectors = mentioned(vectors, [*prompts, negative_prompt])
        negative_prompts = [negative_prompt_of(prompt, vectors, negative_prompt) for prompt in prompts]
        layout = SlotLayout.of(vectors.values())

    def encode(texts: Sequence[str], *, is_negative: bool) -> Conditioning:
        if layout is None:
            return model.encode_text(texts, vectors)
        return encode_all_parts(model, texts, vectors, layout, is_negative=is_negative)

    pixels = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        positive = encode(prompts[part], is_negative=False)
        if any(negative_prompts[part]) or not model.force_zeros_for_empty_prompt:
            negative = encode(negative_prompts[part], is_negative=True)
        else:
            negative = _zeros_like(positive)
        with route_by_timestep(pipeline.unet, layout.stages, num_timesteps) if layout else nullcontext():
            latents = pipeline(
                **_prompt_arguments(positive, prefix=""),
                **_prompt_arguments(negative, prefix="negative_"),
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                height=height,
                width=width,
                output_type="latent",
            ).images
        pixels.append(model.decode_latents(latents).cpu())
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
        raise UserError(f"--sampler={name}: unknown sampler. Use {' or '.join(SAMPLERS)}.")


def build_scheduler(sampler: str, config: Mapping[str, Any]) -> Any:
    """A diffusers scheduler over a model's noise schedule.

    Args:
        sampler: `dpm`, DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), or `ddim`, DDIM (Song et al. 2020, arXiv
            2010.02502), as latent diffusion uses it: nothing is clipped, and the last step ends at the schedule's
            first level.
        config: of any diffusers scheduler.

    Raises:
        UserError: there is no sampler of this name.
    """
    check_sampler(sampler)
    with quiet():
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
    if sampler == DDIM:
        return DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False)
    return DPMSolverMultistepScheduler.from_config(config)


def _prompt_arguments(conditioning: Conditioning, *, prefix: str) -> dict[str, Tensor]:
    """The conditioning under the names of the pipelines' arguments."""
    pooled = {} if conditioning.pooled is None else {f"{prefix}pooled_prompt_embeds": conditioning.pooled}
    return {f"{prefix}prompt_embeds": conditioning.hidden} | pooled


def _zeros_like(conditioning: Conditioning) -> Conditioning:
    pooled = conditioning.pooled
    return Conditioning(torch.zeros_like(conditioning.hidden), None if pooled is None else torch.zeros_like(pooled))
