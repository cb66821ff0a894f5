"""A frozen latent diffusion model in which prompts can contain learned tokens.

B batch, C latent channels, H W image height and width, h w latent height and width, V vocabulary size, D width.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor, nn

from tinv.diffusion.process import NoiseProcess
from tinv.hub.licenses import find_license
from tinv.models import vae as latents
from tinv.models.family import Family
from tinv.models.prompt_encoding import PromptEncoder
from tinv.models.quantized_weights import NUM_FIRST_VALUES
from tinv.models.text_encoder import TextEncoder
from tinv.models.vae import OffloadedModule
from tinv.silence import quiet
from tinv.types import Conditioning, Vectors


class LatentDiffusion(nn.Module):
    """A frozen text-to-image model in which prompts can contain learned tokens.

    Components have diffusers' names: `unet` or `transformer`, `vae`, `scheduler`, `tokenizer`, `text_encoder` ...
    """

    unet: Any
    transformer: Any
    scheduler: Any
    joins_calls = False
    """Whether the calls of several runs are computed as one batch."""

    def __init__(
        self,
        family: Family,
        components: Mapping[str, Any],
        *,
        name: str,
        revision: str | None = None,
        pipeline_settings: Mapping[str, Any] | None = None,
        quantization: Mapping[str, str] | None = None,
        first_values: Mapping[str, Tensor] | None = None,
    ):
        """Freeze all components and make room for learned tokens in every text encoder.

        Args:
            family: what kind of model this is.
            components: by diffusers' names. Tokenizers are only read; the token embedding of each text encoder is
                replaced by a `TokenLookup` with the same weight; the scheduler gives the noise schedule.
            name: what was loaded, as the user wrote it; recorded in files.
            revision: the commit of the Hub, if the model came from there.
            pipeline_settings: override those of the family, for example `force_zeros_for_empty_prompt` of SDXL.
            quantization: of the quantized components.
            first_values: those of each quantized weight before it was quantized, by its name.
        """
        super().__init__()
        self.family, self.name, self.revision = family, name, revision
        for component, value in components.items():
            if component != "vae":
                setattr(self, component, value)
        self.offloaded_vae: OffloadedModule[Any] = OffloadedModule(components["vae"])
        self.quantization = dict(quantization or {})
        self.pipeline_settings = {**family.pipeline_settings, **(pipeline_settings or {})}
        encoders = [components[component] for component in family.text_encoders]
        roles = family.encoder_roles([encoder.get_input_embeddings().embedding_dim for encoder in encoders])
        self.text_encoders = {
            role: TextEncoder(role, tokenizer=components[tokenizer], encoder=encoder)
            for role, tokenizer, encoder in zip(roles, family.tokenizers, encoders, strict=True)
        }
        self._process = family.noise_process(self.scheduler)
        for module in (self.denoiser, self.vae, *encoders):
            module.requires_grad_(False).eval()
        self.eval()
        self.fingerprint = self._fingerprint(first_values or {})

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropout in a frozen model would only add noise."""
        del mode
        return super().train(False)

    @property
    def denoiser(self) -> Any:
        """The U-Net or transformer that predicts noise."""
        return getattr(self, self.family.denoiser[0])

    @property
    def is_guidance_distilled(self) -> bool:
        """Whether samples need no negative prompt: the guidance scale is an input of the denoiser, or has no effect."""
        return bool(self.denoiser.config.get("guidance_embeds") or self.pipeline_settings.get("is_distilled"))

    @property
    def vae(self) -> Any:
        """The VAE. `to` does not move it: it waits on the CPU until `offloaded_vae` is used."""
        return self.offloaded_vae.module

    @property
    def tokenizers(self) -> dict[str, Any]:
        """The tokenizer of each text encoder, by role."""
        return {role: encoder.tokenizer for role, encoder in self.text_encoders.items()}

    @property
    def tables(self) -> dict[str, Tensor]:
        """The frozen token embeddings [V, D] of each text encoder, by role."""
        return {role: encoder.table for role, encoder in self.text_encoders.items()}

    @property
    def resolution(self) -> int:
        """The side in pixels of the square images that the denoiser was trained on."""
        return self.family.resolution(self.denoiser.config, self.vae.config)

    @property
    def timestep_range(self) -> tuple[float, float]:
        """The denoiser's argument `timestep` for latents without noise, and for pure noise."""
        scale = self.denoiser.config.get("timestep_scale", 1.0)  # of Sana
        return scale * self.family.first_timestep, scale * self.family.last_timestep

    @property
    def noise_process(self) -> NoiseProcess:
        """The noise process on the denoiser's device. It is no buffer, so it stays float32 in every precision."""
        self._process = self._process.to(self.denoiser.device)
        return self._process

    @property
    def force_zeros_for_empty_prompt(self) -> bool:
        """Whether an empty negative prompt is encoded as zeros instead of as the features of an empty text."""
        return bool(self.pipeline_settings.get("force_zeros_for_empty_prompt"))

    def metadata(self) -> dict[str, str]:
        """What a file of a learned embedding tells about the model it was trained with."""
        optional = {"base_revision": self.revision, "base_license": find_license(self.name)}
        return {
            "base_model": self.name,
            "fingerprint": self.fingerprint,
            "prediction_type": self.noise_process.prediction_type,
            **{key: text for key, text in optional.items() if text},
        }

    def encode_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Moments [B, 2C, h, w] of images in [-1, 1]: mean and log-variance, unscaled; computed on the VAE's device."""
        return latents.encode(self.vae, pixels_B3HW)

    def decode_latents(self, x_BChw: Tensor, *, is_scaled: bool = True) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1], float32, of latents; computed on the device of the latents.

        `is_scaled` if they are shifted and scaled as the denoiser expects them.
        """
        with self.offloaded_vae.on(x_BChw.device) as vae:
            return latents.decode(vae, x_BChw, is_scaled=is_scaled)

    def sample_latents(self, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
        """Latents [B, C, h, w] drawn from the posterior and scaled as the denoiser expects them."""
        return latents.sample(self.vae, moments_B2Chw, noise_BChw)

    def encode_text(self, captions: Sequence[str], vectors: Vectors, *, is_negative: bool = False) -> Conditioning:
        """The features of B captions that may contain learned tokens; gradients reach the vectors.

        Some families encode the negative prompts of samples differently. For tokens with parts see
        tinv.models.conditioning.
        """
        encode = self.family.encode_negative if is_negative else None
        return (encode or self.family.encode_text)(self, captions, vectors)

    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The denoiser's output [B, C, h, w] for noisy latents.

        SDXL also reads the geometry: original size, crop offset and target size in pixels.
        """
        return self.family.predict(self, x_t_BChw, t_B, conditioning, geometry_B6)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a loss to the leaves of its graph."""
        loss.backward()

    @cached_property
    def prompt_encoder(self) -> PromptEncoder:
        """Encodes prompts as the pipeline does."""
        return PromptEncoder(self)

    def pipeline(self, scheduler: Any, **replaced: Any) -> Any:
        """The diffusers pipeline of these components, with another scheduler and with replaced components."""
        import diffusers

        components = {name: getattr(self, name) for name in (*self.family.tokenizers, *self.family.modules)}
        with quiet():
            pipeline = getattr(diffusers, self.family.pipeline)
        settings = {**self.family.pipeline_options, **self.pipeline_settings}
        return pipeline(**{**components, "scheduler": scheduler, **replaced}, **settings)

    def _fingerprint(self, first_values: Mapping[str, Tensor]) -> str:
        """12 hex digits that identify the model, from the configurations and the first values of every tensor.

        The values are rounded to bfloat16, and those of quantized weights are in `first_values`, so that the
        fingerprint does not depend on the precision of the weights.
        """
        modules = {name: getattr(self, name) for name in self.family.modules}
        digest = blake2b(digest_size=6)
        for module in modules.values():
            config = module.config.to_dict() if hasattr(module.config, "to_dict") else module.config
            numbers = {key: value for key, value in config.items() if isinstance(value, int | float) and key[0] != "_"}
            digest.update(json.dumps(numbers, sort_keys=True).encode())
        digest.update(json.dumps([self.noise_process.prediction_type, self.noise_process.num_timesteps]).encode())
        for name, tensor in nn.ModuleDict(modules).named_parameters():
            values = first_values[name] if name in first_values else tensor.detach().flatten()[:NUM_FIRST_VALUES]
            head = values.to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(name.encode() + bytes(head.numpy().tobytes()))
        return digest.hexdigest()
