"""Pictures from prompts, through diffusers' own pipeline and solvers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from tinv.models.conditioning import encode_all_parts, route_by_timestep
from tinv.models.solvers import DPM, solver
from tinv.token_parts import SlotLayout, has_negative, mentioned, mentions
from tinv.types import Conditioning, Vectors

if TYPE_CHECKING:
    from tinv.models.base import LatentDiffusion


@torch.no_grad()
def sample_pixels(
    model: "LatentDiffusion",
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
    """Draw one picture a prompt.

    Args:
        model: the frozen model.
        prompts: B texts, in which the learned words may stand.
        vectors: the learned words.
        seeds: B seeds; a picture depends on its own prompt and seed alone.
        num_inference_steps: of the sampler; 20 to 30 are enough for `dpm`, 50 for `ddim`.
        guidance_scale: classifier-free guidance scale; 1 turns it off.
        height: in pixels; None is the model's own size.
        width: likewise.
        negative_prompt: what to steer away from.
        batch_size: how many pictures are drawn at once; only memory and speed depend on it.
        sampler: `dpm` or `ddim`; tinv.models.solvers.

    Returns:
        [B, 3, H, W] in [0, 1], float32 on the CPU; non-finite where the model's output was.
    """
    assert len(prompts) == len(seeds)
    pipeline = model.pipeline(solver(sampler, model.scheduler.config))
    pipeline.set_progress_bar_config(disable=True)
    words = mentioned(vectors, [*prompts, negative_prompt])
    spread = SlotLayout.over(words.values())
    pixels = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        positive = encode_all_parts(model, prompts[part], words, spread)
        away = [against(prompt, words, negative_prompt) for prompt in prompts[part]]
        if any(away) or not model.zero_for_nothing:
            opposite = encode_all_parts(model, away, words, spread, is_negative=True)
        else:
            opposite = _zeros_like(positive)
        with route_by_timestep(pipeline.unet, spread.stages, len(model.schedule.alphas_cumprod)):
            latents = pipeline(
                **_features(positive, prefix=""),
                **_features(opposite, prefix="negative_"),
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                height=height,
                width=width,
                output_type="latent",
            ).images
        pixels.append(model.decode_latents(latents).cpu())
    return torch.cat(pixels)


def against(prompt: str, words: Vectors, negative_prompt: str) -> str:
    """What a picture is steered away from: the prompt itself with the negatives of its words, if they have any."""
    has_one = any(has_negative(rows) and mentions(word, [prompt]) for word, rows in words.items())
    return ", ".join(filter(None, [prompt if has_one else "", negative_prompt]))


def to_pictures(pixels_B3HW: Tensor) -> list[Image.Image]:
    """8-bit pictures of pixels in [0, 1]; non-finite ones become black."""
    bytes_BHW3 = (pixels_B3HW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(picture.numpy()) for picture in bytes_BHW3]


def _features(conditioning: Conditioning, *, prefix: str) -> dict[str, Tensor]:
    """A conditioning as the pipelines call it."""
    pooled = {} if conditioning.pooled is None else {f"{prefix}pooled_prompt_embeds": conditioning.pooled}
    return {f"{prefix}prompt_embeds": conditioning.hidden} | pooled


def _zeros_like(conditioning: Conditioning) -> Conditioning:
    pooled = conditioning.pooled
    return Conditioning(torch.zeros_like(conditioning.hidden), None if pooled is None else torch.zeros_like(pooled))
