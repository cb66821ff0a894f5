"""Stable Diffusion XL, frozen, with room for learned words in both of its text encoders.

B batch, C latent channels, H W picture height and width, h w latent height and width, L tokens, V words, D width.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv.models import latents
from tinv.models.fingerprint import fingerprint
from tinv.models.lensed import LensedEncoder
from tinv.models.oncall import OnCall
from tinv.models.quiet import quiet
from tinv.models.sampling import sample_pixels, to_pictures
from tinv.models.schedule import Schedule
from tinv.types import Conditioning, NoiseSchedule, Vectors

ENCODERS = ("clip_l", "clip_g")


class StableDiffusionXL(nn.Module):
    """Frozen components; nothing of it ever trains, whatever Lightning calls."""

    def __init__(
        self,
        *,
        name: str,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        zero_for_nothing: bool = True,
        revision: str | None = None,
    ):
        """Lay a lens over either vocabulary and freeze everything, the second encoder's projection included.

        Args:
            name: what was loaded, as the user wrote it; recorded in files.
            tokenizer: is only read.
            tokenizer_2: the same words, but other padding.
            text_encoder: its token embedding is replaced by a lens with the same weight.
            text_encoder_2: likewise.
            vae: encodes pictures, decodes samples.
            unet: the denoiser.
            scheduler: gives the noise schedule; any diffusers scheduler's configuration will do.
            zero_for_nothing: whether an empty negative prompt is zeros instead of the features of an empty text.
            revision: the Hub's commit of what was loaded, if it came from there.
        """
        super().__init__()
        self.name, self.revision, self.zero_for_nothing = name, revision, zero_for_nothing
        parts = ((tokenizer, text_encoder), (tokenizer_2, text_encoder_2))
        self._texts = [
            LensedEncoder(encoder, tokenizer=words, encoder=module)
            for encoder, (words, module) in zip(ENCODERS, parts, strict=True)
        ]
        self.text_encoder, self.text_encoder_2, self.unet = text_encoder, text_encoder_2, unet
        self.vae_on_call = OnCall(vae.requires_grad_(False).eval())
        self.tokenizer, self.tokenizer_2, self.scheduler = tokenizer, tokenizer_2, scheduler
        self._schedule = Schedule(scheduler)
        self.requires_grad_(False)
        self.eval()
        modules = {"text_encoder": text_encoder, "text_encoder_2": text_encoder_2, "vae": vae, "unet": unet}
        configs = (text_encoder.config.to_dict(), text_encoder_2.config.to_dict(), vae.config, unet.config)
        self.fingerprint = fingerprint(configs, self.schedule, modules)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropout in a frozen model would only be noise."""
        del mode
        return super().train(False)

    @property
    def vae(self) -> AutoencoderKL:
        """Between pictures and latents. `to` leaves it where it is: it waits on the CPU while nothing needs it."""
        return self.vae_on_call.part

    @property
    def tokenizers(self) -> dict[str, CLIPTokenizer]:
        """The tokenizer of each text encoder."""
        return {text.name: text.tokenizer for text in self._texts}

    @property
    def tables(self) -> dict[str, Tensor]:
        """The frozen vocabulary [V, D] of each text encoder."""
        return {text.name: text.table for text in self._texts}

    @property
    def resolution(self) -> int:
        """The side of the square that the U-Net was trained on, in pixels."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the U-Net was trained with."""
        return self._schedule.on(self.unet.device)

    def encode_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Moments [B, 2C, h, w] of pictures in [-1, 1]: mean and log-variance, unscaled; computed where the VAE is."""
        return latents.encode(self.vae, pixels_B3HW)

    def decode_latents(self, x_BChw: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1], float32, of scaled latents; computed where those are."""
        with self.vae_on_call.at(x_BChw.device) as vae:
            return latents.decode(vae, x_BChw)

    def sample_latents(self, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
        """Latents [B, C, h, w] drawn from the posterior and scaled as the U-Net expects them."""
        return latents.sample(self.vae, moments_B2Chw, noise_BChw)

    def encode_text(self, captions: Sequence[str], vectors: Vectors) -> Conditioning:
        """Both encoders' features of captions in which the learned words may stand; gradients reach the rows of both.

        hidden: their last hidden states but one, side by side. pooled: the second encoder's last hidden state at the
        end of the text, projected. Configurations with `eos_token_id: 2` make transformers take it at the largest id
        instead, which is a learned word's wherever there is one.
        """
        (first, _), (second, ids_BL) = (text.read(captions, vectors, output_hidden_states=True) for text in self._texts)
        end_B = (ids_BL == self.tokenizer_2.eos_token_id).int().argmax(dim=1)
        at_end_BD = second.last_hidden_state[torch.arange(len(end_B), device=end_B.device), end_B]
        return Conditioning(
            hidden=torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            pooled=self.text_encoder_2.text_projection(at_end_BD),
        )

    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The U-Net's output [B, C, h, w], told each picture's own size, crop and target size."""
        assert conditioning.pooled is not None
        dtype = self.unet.dtype
        more = {"text_embeds": conditioning.pooled.to(dtype), "time_ids": geometry_B6.to(self.unet.device).float()}
        hidden = conditioning.hidden.to(dtype)
        x_t_BChw = x_t_BChw.to(dtype)
        return self.unet(x_t_BChw, t_B, encoder_hidden_states=hidden, added_cond_kwargs=more, return_dict=False)[0]

    def pipeline(self, scheduler: Any) -> Any:
        """diffusers' own pipeline around these parts, with another scheduler."""
        with quiet():
            from diffusers import StableDiffusionXLPipeline
        return StableDiffusionXLPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer_2,
            unet=self.unet,
            scheduler=scheduler,
            force_zeros_for_empty_prompt=self.zero_for_nothing,
            add_watermarker=False,
        )

    def sample(self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1], float32 on the CPU; `tinv.models.sampling.sample_pixels` has the options."""
        return sample_pixels(self, prompts, vectors, seeds=seeds, **options)

    def generate(
        self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any
    ) -> list[Image.Image]:
        """One picture a prompt, the same for the same prompt and seed whatever stands beside it."""
        return to_pictures(self.sample(prompts, vectors, seeds=seeds, **options))
