"""Chroma, made of Flux.1 schnell: T5 alone conditions the transformer, with all padding but one token masked.

B batch, C latent channels, h w latent height and width, L tokens, N patches, D width.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family, vae_resolution
from tinv.models.flux1 import unpack_latents
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["t5"].tokenizer)
    hidden, _, mask, *_ = model.prompt_encoder(
        captions, vectors, do_classifier_free_guidance=False, max_sequence_length=length
    )
    return Conditioning(hidden, mask=mask)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: latents packed 2 x 2, t / 1000, positions and mask of all tokens.

    The mask has the dtype of the features, as in diffusers 0.42: attention adds 1 to its logits where 1 is (diffusers
    issue 13619). A mask that `encode_prompt` returns as bool stays bool.
    """
    from diffusers import ChromaPipeline

    del geometry_B6
    assert conditioning.mask is not None
    transformer, dtype, device = model.transformer, model.transformer.dtype, x_t_BChw.device
    height, width = x_t_BChw.shape[-2:]
    packed_BND = ChromaPipeline._pack_latents(x_t_BChw.to(dtype), *x_t_BChw.shape)
    mask_BL = conditioning.mask if conditioning.mask.dtype == torch.bool else conditioning.mask.to(dtype)
    velocity_BND = transformer(
        hidden_states=packed_BND,
        timestep=t_B.to(dtype) / 1000,
        encoder_hidden_states=conditioning.hidden.to(dtype),
        txt_ids=torch.zeros(conditioning.hidden.shape[1], 3, device=device, dtype=dtype),
        img_ids=ChromaPipeline._prepare_latent_image_ids(len(packed_BND), height // 2, width // 2, device, dtype),
        attention_mask=torch.cat([mask_BL, mask_BL.new_ones(packed_BND.shape[:2])], dim=1),
        return_dict=False,
    )[0]
    return unpack_latents(velocity_BND, height, width, 1)


CHROMA = Family(
    title="Chroma",
    pipeline="ChromaPipeline",
    text_encoders={"text_encoder": "T5EncoderModel"},
    roles=("t5",),
    encode_text=_encode_text,
    predict=_predict,
    unpack_latents=unpack_latents,
    guidance_scale=3.0,
    last_timestep=1,
    max_sequence_length=512,
    denoiser=("transformer", "ChromaTransformer2DModel"),
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
    resolution=vae_resolution,
    latent_channels=lambda config: config.in_channels // 4,
)
