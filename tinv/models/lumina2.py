"""Lumina Image 2.0: Gemma 2 reads captions after a system prompt, and conditions the transformer token by token.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors

SYSTEM_PROMPT = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts."
)
"""The pipeline's default."""


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    hidden, mask, *_ = model.prompt_encoder(
        captions, vectors, do_classifier_free_guidance=False, system_prompt=SYSTEM_PROMPT, **_options(model)
    )
    return Conditioning(hidden, mask=mask)


def _encode_negative(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    """The features of negative prompts, which the pipeline encodes without the system prompt."""
    *_, hidden, mask = model.prompt_encoder(captions, vectors, is_negative=True, **_options(model))
    return Conditioning(hidden, mask=mask)


def _options(model: LatentDiffusion) -> dict[str, Any]:
    return {"max_sequence_length": model.family.sequence_length(model.text_encoders["gemma"].tokenizer)}


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: 0 is noise, 1 the image, and the output points to the image."""
    del geometry_B6
    dtype = model.transformer.dtype
    velocity_BChw: Tensor = model.transformer(
        hidden_states=x_t_BChw.to(dtype),
        timestep=1 - t_B / model.noise_process.num_timesteps,
        encoder_hidden_states=conditioning.hidden.to(dtype),
        encoder_attention_mask=conditioning.mask,
        return_dict=False,
    )[0]
    return -velocity_BChw


LUMINA2 = Family(
    title="Lumina Image 2.0",
    pipeline="Lumina2Pipeline",
    text_encoders={"text_encoder": "Gemma2Model"},
    roles=("gemma",),
    encode_text=_encode_text,
    encode_negative=_encode_negative,
    predict=_predict,
    guidance_scale=4.0,
    first_timestep=1,
    last_timestep=0,
    max_sequence_length=256,
    prompt_template=f"{SYSTEM_PROMPT} <Prompt Start> {{}}",
    denoiser=("transformer", "Lumina2Transformer2DModel"),
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
)
