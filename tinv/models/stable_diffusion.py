"""Stable Diffusion 1 and 2, frozen, with room for learned words.

B batch, C latent channels, H W picture height and width, h w latent height and width, L tokens, K rows, D width.
"""

from collections.abc import Sequence
from typing import Any, Self

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tinv.formats import encoder_of_width
from tinv.models import latents
from tinv.models.fingerprint import fingerprint
from tinv.models.lensed import LensedEncoder
from tinv.models.oncall import OnCall
from tinv.models.quiet import quiet
from tinv.models.sampling import sample_pixels, to_pictures
from tinv.models.schedule import Schedule
from tinv.types import Conditioning, NoiseSchedule, Vectors


class StableDiffusion(nn.Module):
    """Frozen components; nothing of it ever trains, whatever Lightning calls."""

    zero_for_nothing = False
    """Whether an empty negative prompt is zeros instead of the features of an empty text."""

    def __init__(
        self,
        *,
        name: str,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        revision: str | None = None,
    ):
        """Lay a lens over the text encoder's vocabulary and freeze everything.

        Args:
            name: what was loaded, as the user wrote it; recorded in files.
            tokenizer: is only read.
            text_encoder: its token embedding is replaced by a lens with the same weight.
            vae: encodes pictures, decodes samples.
            unet: the denoiser.
            scheduler: gives the noise schedule; any diffusers scheduler's configuration will do.
            revision: the Hub's commit of what was loaded, if it came from there.
        """
        super().__init__()
        self.name, self.revision = name, revision
        width = text_encoder.get_input_embeddings().embedding_dim
        self._text = LensedEncoder(encoder_of_width(width), tokenizer=tokenizer, encoder=text_encoder)
        self.lens, self.text_encoder, self.unet = self._text.lens, text_encoder, unet
        self.vae_on_call = OnCall(vae.requires_grad_(False).eval())
        self.tokenizer, self.scheduler = tokenizer, scheduler
        self._schedule = Schedule(scheduler)
        self.requires_grad_(False)
        self.eval()
        parts = {"lens": self.lens, "text_encoder": text_encoder, "vae": vae, "unet": unet}
        configs = (text_encoder.config.to_dict(), vae.config, unet.config)
        self.fingerprint = fingerprint(configs, self.schedule, parts)

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
        return {self._text.name: self.tokenizer}

    @property
    def tables(self) -> dict[str, Tensor]:
        """The frozen vocabulary [V, D] of each text encoder."""
        return {self._text.name: self._text.table}

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
        """The last hidden state of captions in which the learned words may stand; gradients reach the rows."""
        output, _ = self._text.read(captions, vectors)
        return Conditioning(output.last_hidden_state)

    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The U-Net's output [B, C, h, w]; Stable Diffusion 1 and 2 take no notice of the geometry."""
        del geometry_B6
        dtype = self.unet.dtype
        hidden = conditioning.hidden.to(dtype)
        return self.unet(x_t_BChw.to(dtype), t_B, encoder_hidden_states=hidden, return_dict=False)[0]

    def pipeline(self, scheduler: Any) -> Any:
        """diffusers' own pipeline around these parts, with another scheduler."""
        with quiet():
            from diffusers import StableDiffusionPipeline
        return StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def sample(self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1], float32 on the CPU; `tinv.models.sampling.sample_pixels` has the options."""
        return sample_pixels(self, prompts, vectors, seeds=seeds, **options)

    def generate(
        self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any
    ) -> list[Image.Image]:
        """One picture a prompt, the same for the same prompt and seed whatever stands beside it."""
        return to_pictures(self.sample(prompts, vectors, seeds=seeds, **options))
