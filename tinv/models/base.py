"""A frozen latent diffusion model, and what a family of such models defines.

B batch, C latent channels, H W image height and width, h w latent height and width, V vocabulary size, D width.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from tinv.diffusion.process import DDPMProcess
from tinv.formats import encoder_of_width
from tinv.hub.licenses import find_license
from tinv.models import vae as latents
from tinv.models.text_encoder import TextEncoder
from tinv.models.vae import OffloadedModule
from tinv.types import Conditioning, Vectors


@dataclass(frozen=True)
class Family:
    """The components of a kind of model and how they are called. Each family is one file of tinv/models."""

    title: str
    text_encoders: Mapping[str, str]
    """Component name, as in diffusers' pipelines -> class of transformers."""
    roles: tuple[str, ...] | None
    """What files call the vectors of each text encoder, e.g. `clip_l`. None: the encoder's width decides."""
    encode_text: Callable[["LatentDiffusion", Sequence[str], Vectors], Conditioning]
    predict: Callable[["LatentDiffusion", Tensor, Tensor, Conditioning, Tensor], Tensor]
    build_pipeline: Callable[["LatentDiffusion", Mapping[str, Any]], Any]
    """The diffusers pipeline of a model's components."""
    force_zeros_for_empty_prompt: bool = False
    """The default of the setting of this name in model_index.json."""

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The component names of the tokenizers, in the order of the text encoders."""
        return tuple(name.replace("text_encoder", "tokenizer") for name in self.text_encoders)

    @property
    def modules(self) -> dict[str, str]:
        """The components that have weights, and their classes."""
        return {**self.text_encoders, "vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}

    def encoder_roles(self, widths: Sequence[int]) -> tuple[str, ...]:
        """The role of each text encoder, given the widths of their token embeddings."""
        return self.roles or tuple(map(encoder_of_width, widths))


class LatentDiffusion(nn.Module):
    """A frozen text-to-image model in which prompts can contain learned tokens.

    Components have diffusers' names: `unet`, `vae`, `scheduler`, `tokenizer`, `text_encoder`, `text_encoder_2` ...
    """

    unet: UNet2DConditionModel
    scheduler: DDPMScheduler

    def __init__(
        self,
        family: Family,
        components: Mapping[str, Any],
        *,
        name: str,
        revision: str | None = None,
        force_zeros_for_empty_prompt: bool | None = None,
    ):
        """Freeze all components and make room for learned tokens in every text encoder.

        Args:
            family: what kind of model this is.
            components: by diffusers' names. Tokenizers are only read; the token embedding of each text encoder is
                replaced by a `TokenLookup` with the same weight; any scheduler of diffusers gives the noise schedule.
            name: what was loaded, as the user wrote it; recorded in files.
            revision: the commit of the Hub, if the model came from there.
            force_zeros_for_empty_prompt: whether an empty negative prompt is encoded as zeros instead of as the
                features of an empty text; None is the family's default.
        """
        super().__init__()
        self.family, self.name, self.revision = family, name, revision
        for component, value in components.items():
            if component != "vae":
                setattr(self, component, value)
        self.offloaded_vae: OffloadedModule[AutoencoderKL] = OffloadedModule(components["vae"])
        if force_zeros_for_empty_prompt is None:
            force_zeros_for_empty_prompt = family.force_zeros_for_empty_prompt
        self.force_zeros_for_empty_prompt = force_zeros_for_empty_prompt
        encoders = [components[component] for component in family.text_encoders]
        roles = family.encoder_roles([encoder.get_input_embeddings().embedding_dim for encoder in encoders])
        self.text_encoders = {
            role: TextEncoder(role, tokenizer=components[tokenizer], encoder=encoder)
            for role, tokenizer, encoder in zip(roles, family.tokenizers, encoders, strict=True)
        }
        self._process = DDPMProcess(self.scheduler.alphas_cumprod.float(), self.scheduler.config.prediction_type)
        for module in (self.unet, self.vae, *encoders):
            module.requires_grad_(False).eval()
        self.eval()
        self.fingerprint = self._fingerprint()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropout in a frozen model would only add noise."""
        del mode
        return super().train(False)

    @property
    def vae(self) -> AutoencoderKL:
        """The VAE. `to` does not move it: it waits on the CPU until `offloaded_vae` is used."""
        return self.offloaded_vae.module

    @property
    def tokenizers(self) -> dict[str, CLIPTokenizer]:
        """The tokenizer of each text encoder, by role."""
        return {role: encoder.tokenizer for role, encoder in self.text_encoders.items()}

    @property
    def tables(self) -> dict[str, Tensor]:
        """The frozen token embeddings [V, D] of each text encoder, by role."""
        return {role: encoder.table for role, encoder in self.text_encoders.items()}

    @property
    def resolution(self) -> int:
        """The side in pixels of the square images that the U-Net was trained on."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def noise_process(self) -> DDPMProcess:
        """The noise process on the U-Net's device. It is no buffer, so it stays float32 in every precision."""
        if self._process.alphas_cumprod.device != self.unet.device:
            alphas_cumprod = self._process.alphas_cumprod.to(self.unet.device)
            self._process = replace(self._process, alphas_cumprod=alphas_cumprod)
        return self._process

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

    def decode_latents(self, x_BChw: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1], float32, of scaled latents; computed on the device of the latents."""
        with self.offloaded_vae.on(x_BChw.device) as vae:
            return latents.decode(vae, x_BChw)

    def sample_latents(self, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
        """Latents [B, C, h, w] drawn from the posterior and scaled as the U-Net expects them."""
        return latents.sample(self.vae, moments_B2Chw, noise_BChw)

    def encode_text(self, captions: Sequence[str], vectors: Vectors) -> Conditioning:
        """The features of B captions that may contain learned tokens; gradients reach the vectors.

        For tokens with parts see tinv.models.conditioning.
        """
        return self.family.encode_text(self, captions, vectors)

    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The U-Net's output [B, C, h, w] for noisy latents.

        SDXL also reads the geometry: original size, crop offset and target size in pixels.
        """
        return self.family.predict(self, x_t_BChw, t_B, conditioning, geometry_B6)

    def pipeline(self, scheduler: Any) -> Any:
        """The diffusers pipeline of these components, with another scheduler."""
        components = {name: getattr(self, name) for name in (*self.family.tokenizers, *self.family.modules)}
        return self.family.build_pipeline(self, {**components, "scheduler": scheduler})

    def _fingerprint(self) -> str:
        """12 hex digits that identify the model, from the configurations and the first values of every tensor.

        The values are rounded to bfloat16, so that the fingerprint does not depend on the precision of the weights.
        """
        modules = {name: getattr(self, name) for name in self.family.modules}
        digest = blake2b(digest_size=6)
        for module in modules.values():
            config = module.config.to_dict() if hasattr(module.config, "to_dict") else module.config
            numbers = {key: value for key, value in config.items() if isinstance(value, int | float) and key[0] != "_"}
            digest.update(json.dumps(numbers, sort_keys=True).encode())
        digest.update(json.dumps([self.noise_process.prediction_type, self.noise_process.num_timesteps]).encode())
        for name, tensor in nn.ModuleDict(modules).named_parameters():
            head = tensor.detach().flatten()[:16].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(name.encode() + bytes(head.numpy().tobytes()))
        return digest.hexdigest()
