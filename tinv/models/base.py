"""What the families of Stable Diffusion have in common: frozen parts, pictures to latents and back, samples.

B batch, C latent channels, H W picture height and width, h w latent height and width, V words, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from tinv.models import vae as latents
from tinv.models.fingerprint import fingerprint
from tinv.models.oncall import OffloadedModule
from tinv.models.sampling import sample_pixels, to_pictures
from tinv.models.schedule import Schedule
from tinv.models.text_encoder import TextEncoder
from tinv.types import Conditioning, NoiseSchedule, Vectors


class LatentDiffusion(nn.Module, ABC):
    """Frozen components; nothing of it ever trains, whatever Lightning calls.

    A family keeps its text encoders under diffusers' own names, and takes its fingerprint of them.
    """

    fingerprint: str
    zero_for_nothing: bool
    """Whether an empty negative prompt is zeros instead of the features of an empty text."""

    def __init__(
        self,
        texts: Sequence[TextEncoder],
        *,
        name: str,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        revision: str | None,
    ):
        """Freeze everything.

        Args:
            texts: text encoders with lenses over their vocabularies.
            name: what was loaded, as the user wrote it; recorded in files.
            vae: encodes pictures, decodes samples.
            unet: the denoiser.
            scheduler: gives the noise schedule; any diffusers scheduler's configuration will do.
            revision: the Hub's commit of what was loaded, if it came from there.
        """
        super().__init__()
        self.name, self.revision = name, revision
        self.unet, self.scheduler = unet, scheduler
        self.vae_on_call = OffloadedModule(vae)
        self._texts, self._schedule = texts, Schedule(scheduler)
        for part in (unet, vae, *(text.encoder for text in texts)):
            part.requires_grad_(False).eval()
        self.eval()

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

    @abstractmethod
    def encode_text(self, captions: Sequence[str], vectors: Vectors) -> Conditioning:
        """The features of captions in which the learned words may stand; gradients reach the rows."""

    @abstractmethod
    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The U-Net's output [B, C, h, w]."""

    @abstractmethod
    def pipeline(self, scheduler: Any) -> Any:
        """diffusers' own pipeline around these parts, with another scheduler."""

    def sample(self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1], float32 on the CPU; `tinv.models.sampling.sample_pixels` has the options."""
        return sample_pixels(self, prompts, vectors, seeds=seeds, **options)

    def generate(
        self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any
    ) -> list[Image.Image]:
        """One picture a prompt, the same for the same prompt and seed whatever stands beside it."""
        return to_pictures(self.sample(prompts, vectors, seeds=seeds, **options))

    def _fingerprint(self, readers: Mapping[str, nn.Module]) -> str:
        """What tells this model from another, with its text encoders under the names that files know."""
        configs = (*(text.encoder.config.to_dict() for text in self._texts), self.vae.config, self.unet.config)
        return fingerprint(configs, self.schedule, {**readers, "vae": self.vae, "unet": self.unet})
