"""Qwen-Image: the last hidden state of Qwen2.5-VL, without the pipeline's template, conditions the transformer.

B batch, C latent channels, h w latent height and width, L tokens, D width, S conditioning slots.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tinv.errors import UserError
from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors

MAX_SEQUENCE_LENGTH = 1024
"""The tokens after the start of the template. The pipeline's own default for samples is half of it."""


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["qwen2_5_vl"].tokenizer)
    hidden, mask = model.prompt_encoder(captions, vectors, max_sequence_length=length)
    return Conditioning(hidden, mask=torch.ones(hidden.shape[:2], device=hidden.device) if mask is None else mask)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: latents packed 2 x 2, t / 1000, a mask only if there is padding."""
    from diffusers import QwenImagePipeline

    del geometry_B6
    assert conditioning.mask is not None
    dtype, (num_images, _, height, width) = model.transformer.dtype, x_t_BChw.shape
    velocity_BLD = model.transformer(
        hidden_states=QwenImagePipeline._pack_latents(x_t_BChw.to(dtype), *x_t_BChw.shape),
        timestep=t_B.to(dtype) / 1000,
        encoder_hidden_states=conditioning.hidden.to(dtype),
        encoder_hidden_states_mask=None if conditioning.mask.all() else conditioning.mask,
        img_shapes=[[(1, height // 2, width // 2)]] * num_images,
        return_dict=False,
    )[0]
    return _unpack_latents(velocity_BLD, height, width, 1)


def _unpack_latents(x_BLD: Tensor, height: int, width: int, scale: int) -> Tensor:
    """Latents [B, C, h, w]; height and width are `scale` times those of the latents."""
    from diffusers import QwenImagePipeline

    return QwenImagePipeline._unpack_latents(x_BLD, height, width, scale).squeeze(2)


def _sampling_arguments(
    model: LatentDiffusion, positive: Conditioning, negative: Conditioning | None, scale: float
) -> dict[str, Any]:
    """True classifier-free guidance."""
    arguments = {**_prompt_arguments(positive), "true_cfg_scale": scale}
    if negative is None or scale <= 1:
        return arguments
    return arguments | {f"negative_{name}": value for name, value in _prompt_arguments(negative).items()}


def _prompt_arguments(conditioning: Conditioning) -> dict[str, Tensor]:
    """The features [B, L, S * D] and a mask [B, L]: the pipeline takes no mask of several slots.

    Raises:
        UserError: a caption has different lengths in its slots.
    """
    assert conditioning.mask is not None
    mask_B1L, *others = conditioning.mask.unflatten(1, (-1, conditioning.hidden.shape[1])).split(1, dim=1)
    if any(not torch.equal(mask_B1L, other) for other in others):
        raise UserError("--embedding: a token has more vectors in some stages than in others. Qwen-Image takes equal.")
    return {"prompt_embeds": conditioning.hidden, "prompt_embeds_mask": mask_B1L.squeeze(1)}


def _resolution(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """The pipeline's default, 128 latent pixels; a VAE may name another `sample_size`."""
    del transformer
    return int(vae.get("sample_size", 128 * 2 ** len(vae["temperal_downsample"])))


QWEN_IMAGE = Family(
    title="Qwen-Image",
    pipeline="QwenImagePipeline",
    text_encoders={"text_encoder": "Qwen2_5_VLForConditionalGeneration"},
    roles=("qwen2_5_vl",),
    encode_text=_encode_text,
    predict=_predict,
    sampling_arguments=_sampling_arguments,
    unpack_latents=_unpack_latents,
    guidance_scale=4.0,
    last_timestep=1,
    max_sequence_length=MAX_SEQUENCE_LENGTH,
    prompt_template="{}<|im_end|>\n<|im_start|>assistant\n",
    denoiser=("transformer", "QwenImageTransformer2DModel"),
    vae_class="AutoencoderKLQwenImage",
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
    resolution=_resolution,
    latent_channels=lambda config: config.in_channels // 4,
    call_options={"max_sequence_length": MAX_SEQUENCE_LENGTH},
)
