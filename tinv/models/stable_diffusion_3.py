"""Stable Diffusion 3 and 3.5: two CLIP and T5 condition the transformer token by token, and the CLIP by pooled vectors.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["t5"].tokenizer)
    hidden, _, pooled, _ = model.prompt_encoder(
        captions, vectors, do_classifier_free_guidance=False, max_sequence_length=length
    )
    return Conditioning(hidden, pooled)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's; the transformer makes the patches."""
    del geometry_B6
    assert conditioning.pooled is not None
    dtype = model.transformer.dtype
    velocity_BChw: Tensor = model.transformer(
        hidden_states=x_t_BChw.to(dtype),
        timestep=t_B,
        encoder_hidden_states=conditioning.hidden.to(dtype),
        pooled_projections=conditioning.pooled.to(dtype),
        return_dict=False,
    )[0]
    return velocity_BChw


STABLE_DIFFUSION_3 = Family(
    title="Stable Diffusion 3",
    pipeline="StableDiffusion3Pipeline",
    text_encoders={
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "text_encoder_3": "T5EncoderModel",
    },
    roles=("clip_l", "clip_g", "t5"),
    encode_text=_encode_text,
    predict=_predict,
    guidance_scale=4.5,
    max_sequence_length=256,
    denoiser=("transformer", "SD3Transformer2DModel"),
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
)
