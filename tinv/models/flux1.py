"""Flux.1: T5 conditions the transformer token by token, CLIP ViT-L by its pooled vector.

B batch, C latent channels, h w latent height and width, L tokens, D width.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family, guidance_arguments, prompt_arguments, vae_resolution
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors

MAX_SEQUENCE_LENGTH = 512
TRAINING_GUIDANCE = 1.0
"""The guidance input of the distilled model in training: the prediction for the caption, not led away from others."""


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["t5"].tokenizer)
    hidden, pooled, _ = model.prompt_encoder(captions, vectors, max_sequence_length=length)
    return Conditioning(hidden, pooled)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: latents packed 2 x 2, t / 1000, the positions of all tokens."""
    from diffusers import FluxPipeline

    del geometry_B6
    assert conditioning.pooled is not None
    transformer, dtype, device = model.transformer, model.transformer.dtype, x_t_BChw.device
    height, width = x_t_BChw.shape[-2:]
    packed_BLD = FluxPipeline._pack_latents(x_t_BChw.to(dtype), *x_t_BChw.shape)
    guidance_B = torch.full_like(t_B, TRAINING_GUIDANCE) if transformer.config.guidance_embeds else None
    velocity_BLD = transformer(
        hidden_states=packed_BLD,
        timestep=t_B.to(dtype) / 1000,
        guidance=guidance_B,
        pooled_projections=conditioning.pooled.to(dtype),
        encoder_hidden_states=conditioning.hidden.to(dtype),
        txt_ids=torch.zeros(conditioning.hidden.shape[1], 3, device=device, dtype=dtype),
        img_ids=FluxPipeline._prepare_latent_image_ids(len(packed_BLD), height // 2, width // 2, device, dtype),
        return_dict=False,
    )[0]
    return unpack_latents(velocity_BLD, height, width, 1)


def unpack_latents(x_BLD: Tensor, height: int, width: int, scale: int) -> Tensor:
    """Latents [B, C, h, w]; height and width are `scale` times those of the latents."""
    from diffusers import FluxPipeline

    return FluxPipeline._unpack_latents(x_BLD, height, width, scale)


def _sampling_arguments(
    model: LatentDiffusion, positive: Conditioning, negative: Conditioning | None, scale: float
) -> dict[str, Any]:
    """The guidance input of a distilled model; with a negative prompt, or for other models, true guidance."""
    if negative is None:
        return guidance_arguments(model, positive, None, scale)
    guidance = {"guidance_scale": TRAINING_GUIDANCE, "true_cfg_scale": scale}
    return prompt_arguments(positive) | prompt_arguments(negative, prefix="negative_") | guidance


FLUX1 = Family(
    title="Flux.1",
    pipeline="FluxPipeline",
    text_encoders={"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"},
    roles=("clip_l", "t5"),
    encode_text=_encode_text,
    predict=_predict,
    sampling_arguments=_sampling_arguments,
    unpack_latents=unpack_latents,
    guidance_scale=3.5,
    last_timestep=1,
    max_sequence_length=MAX_SEQUENCE_LENGTH,
    denoiser=("transformer", "FluxTransformer2DModel"),
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
    resolution=vae_resolution,
    latent_channels=lambda config: config.in_channels // 4,
)
