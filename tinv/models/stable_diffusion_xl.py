"""Stable Diffusion XL: two text encoders, whose last hidden states but one condition the U-Net side by side.

B batch, L tokens, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    """Both encoders' features; gradients reach the vectors of both.

    The pooled vector is the second encoder's last hidden state at the end-of-text token, projected. Configurations
    with `eos_token_id: 2` make transformers take it at the largest id instead, which is that of a learned token.
    """
    clip_l, clip_g = model.text_encoders.values()
    first, _ = clip_l.encode(captions, vectors, output_hidden_states=True)
    second, ids_BL = clip_g.encode(captions, vectors, output_hidden_states=True)
    end_B = (ids_BL == clip_g.tokenizer.eos_token_id).int().argmax(dim=1)
    at_end_BD = second.last_hidden_state[torch.arange(len(end_B), device=end_B.device), end_B]
    return Conditioning(
        hidden=torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
        pooled=clip_g.encoder.text_projection(at_end_BD),
    )


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    assert conditioning.pooled is not None
    dtype = model.unet.dtype
    added = {"text_embeds": conditioning.pooled.to(dtype), "time_ids": geometry_B6.to(model.unet.device).float()}
    hidden = conditioning.hidden.to(dtype)
    x_t_BChw = x_t_BChw.to(dtype)
    return model.unet(x_t_BChw, t_B, encoder_hidden_states=hidden, added_cond_kwargs=added, return_dict=False)[0]


STABLE_DIFFUSION_XL = Family(
    title="Stable Diffusion XL",
    pipeline="StableDiffusionXLPipeline",
    text_encoders={"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
    roles=("clip_l", "clip_g"),
    encode_text=_encode_text,
    predict=_predict,
    pipeline_options={"add_watermarker": False},
    pipeline_settings={"force_zeros_for_empty_prompt": True},
)
