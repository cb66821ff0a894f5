"""Z-Image: a hidden state of Qwen3 conditions the transformer, which takes captions of different lengths as a list.

B batch, C latent channels, h w latent height and width, L tokens, D width, S conditioning slots.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family, vae_resolution
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["qwen3"].tokenizer)
    features, _ = model.prompt_encoder(captions, vectors, max_sequence_length=length, do_classifier_free_guidance=False)
    mask = pad_sequence([torch.ones(len(one_LD), device=one_LD.device) for one_LD in features], batch_first=True)
    return Conditioning(pad_sequence(features, batch_first=True), mask=mask)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: one frame, 1 - t / 1000; the output is x - noise."""
    del geometry_B6
    dtype = model.transformer.dtype
    features = [one_LD.to(dtype) for (one_LD,) in _unpad(conditioning)]
    images = list(x_t_BChw.to(dtype).unsqueeze(2))
    return -torch.stack(model.transformer(images, (1000 - t_B) / 1000, features, return_dict=False)[0]).squeeze(2)


def _unpad(conditioning: Conditioning) -> list[list[Tensor]]:
    """The features [L, D] of each caption in each of its slots, without padding."""
    assert conditioning.mask is not None
    hidden, mask = conditioning.hidden, conditioning.mask
    slots = mask.shape[1] // hidden.shape[1]
    by_slot = hidden.unflatten(-1, (slots, -1)).movedim(-2, 1), mask.unflatten(-1, (slots, -1)) > 0
    return [[one_LD[mask_L] for one_LD, mask_L in zip(*of_caption, strict=True)] for of_caption in zip(*by_slot)]


def _sampling_arguments(
    model: LatentDiffusion, positive: Conditioning, negative: Conditioning | None, scale: float
) -> dict[str, Any]:
    """Lists of features; a caption with several slots has a list of its own, from which the routing selects."""
    assert negative is not None

    def features(conditioning: Conditioning) -> list[Any]:
        return [slots[0] if len(slots) == 1 else slots for slots in _unpad(conditioning)]

    arguments = {"prompt_embeds": features(positive), "negative_prompt_embeds": features(negative)}
    return arguments | {"guidance_scale": scale}


Z_IMAGE = Family(
    title="Z-Image",
    pipeline="ZImagePipeline",
    text_encoders={"text_encoder": "Qwen3Model"},
    roles=("qwen3",),
    encode_text=_encode_text,
    predict=_predict,
    sampling_arguments=_sampling_arguments,
    guidance_scale=5.0,
    first_timestep=1,
    last_timestep=0,
    max_sequence_length=512,
    prompt_template="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    denoiser=("transformer", "ZImageTransformer2DModel"),
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2),
    resolution=vae_resolution,
)
