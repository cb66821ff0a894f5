"""PixArt-Sigma: T5 conditions a transformer that predicts epsilon and, in further channels, its variance.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Sequence

from torch import Tensor

from tinv.models.base import LatentDiffusion
from tinv.models.family import Family
from tinv.types import Conditioning, Vectors


def _encode_text(model: LatentDiffusion, captions: Sequence[str], vectors: Vectors) -> Conditioning:
    """The features of captions in lower case, which are not cleaned: the cleaner would delete `<cat-toy>` as HTML."""
    length = model.family.sequence_length(model.text_encoders["t5"].tokenizer)
    hidden, mask, *_ = model.prompt_encoder(
        captions, vectors, do_classifier_free_guidance=False, max_sequence_length=length, clean_caption=False
    )
    return Conditioning(hidden, mask=mask)


def _predict(
    model: LatentDiffusion, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor
) -> Tensor:
    """Epsilon, in a call like the pipeline's; the variance is not used."""
    del geometry_B6
    dtype = model.transformer.dtype
    output: Tensor = model.transformer(
        x_t_BChw.to(dtype),
        encoder_hidden_states=conditioning.hidden.to(dtype),
        encoder_attention_mask=conditioning.mask,
        timestep=t_B,
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]
    return output[:, : x_t_BChw.shape[1]]


PIXART_SIGMA = Family(
    title="PixArt-Sigma",
    pipeline="PixArtSigmaPipeline",
    text_encoders={"text_encoder": "T5EncoderModel"},
    roles=("t5",),
    encode_text=_encode_text,
    predict=_predict,
    guidance_scale=4.5,
    max_sequence_length=300,
    denoiser=("transformer", "PixArtTransformer2DModel"),
    older_classes={"transformer": "Transformer2DModel"},
    scheduler_class="DPMSolverMultistepScheduler",
    call_options={"negative_prompt": None, "use_resolution_binning": False},
)
