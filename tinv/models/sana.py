"""Sana: Gemma 2 reads captions after an instruction to enhance them, and conditions a transformer over DC-AE's latents.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.models.schedulers import static_flow_process
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    """The features of captions in lower case after the pipeline's default instruction."""
    from diffusers import SanaPipeline

    instruction = signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    hidden, mask, *_ = model.prompt_encoder(
        captions, vectors, do_classifier_free_guidance=False, complex_human_instruction=instruction, **_options(model)
    )
    return Conditioning(hidden, mask=mask)


def _encode_negative(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    """The features of negative prompts, which the pipeline encodes without the instruction."""
    *_, hidden, mask = model.prompt_encoder(captions, vectors, is_negative=True, **_options(model))
    return Conditioning(hidden, mask=mask)


def _options(model: LatentDiffusion) -> dict[str, Any]:
    """The arguments of `encode_prompt`; its cleaner would delete `<cat-toy>` as HTML."""
    length = model.family.sequence_length(model.text_encoders["gemma"].tokenizer)
    return {"max_sequence_length": length, "clean_caption": False}


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """The velocity, in a call like the pipeline's."""
    del geometry_B6
    dtype = model.transformer.dtype
    velocity_BChw: Tensor = model.transformer(
        x_t_BChw.to(dtype),
        encoder_hidden_states=conditioning.hidden.to(dtype),
        encoder_attention_mask=conditioning.mask,
        timestep=t_B * model.transformer.config.timestep_scale,
        return_dict=False,
    )[0]
    return velocity_BChw


def _resolution(transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    return int(transformer["sample_size"] * 2 ** (len(vae["encoder_block_out_channels"]) - 1))


SANA = Family(
    title="Sana",
    pipeline="SanaPipeline",
    text_encoders={"text_encoder": "Gemma2Model"},
    roles=("gemma",),
    encode_text=_encode_text,
    encode_negative=_encode_negative,
    predict=_predict,
    guidance_scale=4.5,
    max_sequence_length=300,
    denoiser=("transformer", "SanaTransformer2DModel"),
    vae_class="AutoencoderDC",
    scheduler_class="DPMSolverMultistepScheduler",
    noise_process=static_flow_process,
    resolution=_resolution,
    call_options={"negative_prompt": None, "use_resolution_binning": False},
)
