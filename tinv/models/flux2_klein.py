"""Flux.2 klein: three hidden states of Qwen3, side by side, condition the transformer.

B batch, C latent channels, h w latent height and width, L tokens, D width.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family, guidance_arguments, vae_resolution
from tinv.models.schedulers import flow_process
from tinv.types import Conditioning, Vectors

NUM_INFERENCE_STEPS = 50
"""The pipeline's default. Its shift depends on the number of steps, too; that of training is for this number."""


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    length = model.family.sequence_length(model.text_encoders["qwen3"].tokenizer)
    hidden, _ = model.prompt_encoder(captions, vectors, max_sequence_length=length)
    return Conditioning(hidden)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's: patches of 2 x 2, t / 1000, the positions of all tokens."""
    from diffusers import Flux2KleinPipeline as Pipeline

    del geometry_B6
    dtype, device = model.transformer.dtype, x_t_BChw.device
    patches = Pipeline._patchify_latents(x_t_BChw.to(dtype))
    velocity_BLD = model.transformer(
        hidden_states=Pipeline._pack_latents(patches),
        timestep=t_B.to(dtype) / 1000,
        guidance=None,
        encoder_hidden_states=conditioning.hidden.to(dtype),
        txt_ids=Pipeline._prepare_text_ids(conditioning.hidden).to(device),
        img_ids=Pipeline._prepare_latent_ids(patches).to(device),
        return_dict=False,
    )[0]
    return Pipeline._unpatchify_latents(velocity_BLD.mT.reshape(patches.shape))


def _sampling_arguments(
    model: LatentDiffusion, positive: Conditioning, negative: Conditioning | None, scale: float
) -> dict[str, Any]:
    """Guidance for the base model; the distilled one draws without."""
    if not model.is_guidance_distilled:
        return guidance_arguments(model, positive, negative, scale)
    if negative is not None:
        warnings.warn(f"the negative prompt is ignored: {model.name} is distilled to draw without one", stacklevel=2)
    return guidance_arguments(model, positive, None, 1.0)


def _find_mu(num_tokens: int) -> float:
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    return compute_empirical_mu(num_tokens, NUM_INFERENCE_STEPS)


FLUX2_KLEIN = Family(
    title="Flux.2 klein",
    pipeline="Flux2KleinPipeline",
    text_encoders={"text_encoder": "Qwen3ForCausalLM"},
    roles=("qwen3",),
    encode_text=_encode_text,
    predict=_predict,
    sampling_arguments=_sampling_arguments,
    returns_unscaled_latents=True,
    guidance_scale=4.0,
    last_timestep=1,
    max_sequence_length=512,
    prompt_template="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    denoiser=("transformer", "Flux2Transformer2DModel"),
    vae_class="AutoencoderKLFlux2",
    scheduler_class="FlowMatchEulerDiscreteScheduler",
    noise_process=partial(flow_process, patch_size=2, find_mu=_find_mu),
    resolution=vae_resolution,
    latent_channels=lambda config: config.in_channels // 4,
    pipeline_settings={"is_distilled": False},
)
