"""Stable Diffusion 1 and 2: one text encoder, whose last hidden state conditions the U-Net."""

from collections.abc import Sequence

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    (encoder,) = model.text_encoders.values()
    output, _ = encoder.encode(captions, vectors)
    return Conditioning(output.last_hidden_state)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    del geometry_B6  # only SDXL reads it
    dtype = model.unet.dtype
    hidden = conditioning.hidden.to(dtype)
    return model.unet(x_t_BChw.to(dtype), t_B, encoder_hidden_states=hidden, return_dict=False)[0]


STABLE_DIFFUSION = Family(
    title="Stable Diffusion 1 or 2",
    pipeline="StableDiffusionPipeline",
    text_encoders={"text_encoder": "CLIPTextModel"},
    roles=None,  # clip_l in Stable Diffusion 1, clip_h in 2
    encode_text=_encode_text,
    predict=_predict,
    pipeline_options={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
)
