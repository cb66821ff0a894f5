"""What a family of latent diffusion models defines: its components, and how they are called.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from torch import Tensor
from transformers import CLIPTokenizer

from tinv.diffusion.process import NoiseProcess
from tinv.formats import encoder_of_width
from tinv.models.schedulers import ddpm_process
from tinv.types import Conditioning, Vectors

Model = Any
"""A `LatentDiffusion`, whose module imports this one."""


def latent_resolution(denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """The pixels of the denoiser's `sample_size`, which counts those of latents."""
    return int(denoiser["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1))


def vae_resolution(denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """The `sample_size` of the VAE, for denoisers that work at any resolution and name none."""
    del denoiser
    return int(vae["sample_size"])


def guidance_arguments(
    model: Model, positive: Conditioning, negative: Conditioning | None, scale: float
) -> dict[str, Any]:
    """The pipeline's arguments for classifier-free guidance; no `negative` turns it off."""
    arguments = {**prompt_arguments(positive), "guidance_scale": scale}
    return arguments if negative is None else arguments | prompt_arguments(negative, prefix="negative_")


def prompt_arguments(conditioning: Conditioning, *, prefix: str = "") -> dict[str, Tensor]:
    """The conditioning under the names of the pipelines' arguments."""
    arguments = {
        "prompt_embeds": conditioning.hidden,
        "pooled_prompt_embeds": conditioning.pooled,
        "prompt_attention_mask": conditioning.mask,
    }
    return {f"{prefix}{name}": value for name, value in arguments.items() if value is not None}


@dataclass(frozen=True)
class Family:
    """The components of a kind of model and how they are called. Each family is one file of tinv/models."""

    title: str
    pipeline: str
    """The class of diffusers' pipeline, which draws samples."""
    text_encoders: Mapping[str, str]
    """Component name, as in diffusers' pipelines -> class of transformers."""
    roles: tuple[str, ...] | None
    """What files call the vectors of each text encoder, e.g. `clip_l`. None: the encoder's width decides."""
    encode_text: Callable[[Model, Sequence[str], Vectors], Conditioning]
    predict: Callable[[Model, Tensor, Tensor, Conditioning, Tensor], Tensor]
    sampling_arguments: Callable[[Model, Conditioning, Conditioning | None, float], dict[str, Any]] = guidance_arguments
    """The pipeline's arguments for a conditioning, that of the negative prompt, and a guidance scale."""
    encode_negative: Callable[[Model, Sequence[str], Vectors], Conditioning] | None = None
    """Encodes negative prompts where the pipeline encodes them differently, for example without its own prefix."""
    unpack_latents: Callable[[Tensor, int, int, int], Tensor] | None = None
    """Latents [B, C, h, w] of what the pipeline returns for `output_type="latent"`, an image height and width, and the
    pixels in a latent pixel; None if they are the same."""
    returns_unscaled_latents: bool = False
    """Whether the pipeline's latents are as the VAE decodes them, without its shift and scale."""
    guidance_scale: float = 7.5
    """The usual one, for samples."""
    first_timestep: float = 0
    """The denoiser's argument `timestep` for latents without noise."""
    last_timestep: float = 1000
    """The denoiser's argument `timestep` for pure noise."""
    max_sequence_length: int | None = None
    """The tokens that `encode_prompt` reads with a text encoder that is no CLIP."""
    prompt_template: str = "{}"
    """The pipeline's own text around each caption, `{}`, as far as its tokens count towards `max_sequence_length`."""
    denoiser: tuple[str, str] = ("unet", "UNet2DConditionModel")
    """The component name and the class of diffusers."""
    older_classes: Mapping[str, str] = field(default_factory=dict)
    """The classes of components in older repositories, if diffusers has renamed them."""
    vae_class: str = "AutoencoderKL"
    scheduler_class: str = "DDPMScheduler"
    noise_process: Callable[[Any], NoiseProcess] = ddpm_process
    """The noise process of a scheduler."""
    resolution: Callable[[Mapping[str, Any], Mapping[str, Any]], int] = latent_resolution
    """The side in pixels of training images, from the configurations of the denoiser and the VAE."""
    latent_channels: Callable[[Any], int] = attrgetter("in_channels")
    """The channels of the latents, from the configuration of the denoiser."""
    pipeline_options: Mapping[str, Any] = field(default_factory=dict)
    """What the pipeline is built with beside its components."""
    call_options: Mapping[str, Any] = field(default_factory=dict)
    """What the pipeline is called with beside prompts, guidance, sizes and steps."""
    pipeline_settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings of the pipeline that model_index.json may override, with their defaults."""

    def sequence_length(self, tokenizer: Any) -> int:
        """The tokens that are read with a tokenizer: `max_sequence_length`, or fewer if the tokenizer says so."""
        length: int = tokenizer.model_max_length
        if self.max_sequence_length is None or isinstance(tokenizer, CLIPTokenizer):
            return length
        return min(length, self.max_sequence_length)

    def max_caption_tokens(self, tokenizer: Any) -> int:
        """The tokens that a caption may have to be read whole, without those that the pipeline adds."""
        return self.sequence_length(tokenizer) - len(tokenizer(self.prompt_template.format("")).input_ids)

    @property
    def has_unet(self) -> bool:
        """Whether the denoiser is the U-Net of Stable Diffusion, which some methods need."""
        return self.denoiser[0] == "unet"

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The component names of the tokenizers, in the order of the text encoders."""
        return tuple(name.replace("text_encoder", "tokenizer") for name in self.text_encoders)

    @property
    def modules(self) -> dict[str, str]:
        """The components that have weights, and their classes."""
        component, class_name = self.denoiser
        return {**self.text_encoders, "vae": self.vae_class, component: class_name}

    def encoder_roles(self, widths: Sequence[int]) -> tuple[str, ...]:
        """The role of each text encoder, given the widths of their token embeddings."""
        return self.roles or tuple(map(encoder_of_width, widths))
