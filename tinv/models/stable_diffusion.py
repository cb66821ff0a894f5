"""Stable Diffusion 1 and 2, frozen, with room for learned words.

B batch, C latent channels, H W picture height and width, h w latent height and width, L tokens, K rows, D width.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Literal, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tinv.diffusion import sample_moments
from tinv.models.lens import Lens
from tinv.models.oncall import OnCall
from tinv.models.places import explain_failure, resolve_model
from tinv.models.prompts import Prompts
from tinv.models.quiet import quiet
from tinv.models.sampling import sample_pixels, to_pictures
from tinv.types import Conditioning, NoiseSchedule, Vectors

ENCODER = "clip_l"


class StableDiffusion(nn.Module):
    """Frozen components; nothing of it ever trains, whatever Lightning calls."""

    def __init__(
        self,
        *,
        name: str,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
    ):
        """Lay a lens over the text encoder's vocabulary and freeze everything.

        Args:
            name: what was loaded, as the user wrote it; recorded in files.
            tokenizer: is only read.
            text_encoder: its token embedding is replaced by a lens with the same weight.
            vae: encodes pictures, decodes samples.
            unet: the denoiser.
            scheduler: gives the noise schedule; any diffusers scheduler's configuration will do.
        """
        super().__init__()
        self.name = name
        self.lens = Lens(text_encoder.get_input_embeddings())
        text_encoder.set_input_embeddings(self.lens)
        self.text_encoder, self.unet = text_encoder, unet
        self.vae_on_call = OnCall(vae.requires_grad_(False).eval())
        self.tokenizer, self.scheduler = tokenizer, scheduler
        self.prompts = Prompts(tokenizer, num_embeddings=self.lens.num_embeddings)
        self._schedule = NoiseSchedule(scheduler.alphas_cumprod.float(), scheduler.config.prediction_type)
        self.requires_grad_(False)
        self.eval()
        self.fingerprint = _fingerprint(self)

    @classmethod
    def load(cls, pretrained: str, dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> Self:
        """Load the components of a diffusers pipeline.

        Args:
            pretrained: a pipeline folder, `pkg://package/folder`, or an id of the Hugging Face Hub.
            dtype: the precision of the frozen weights, whatever they were saved in. The learned rows and the loss are
                float32 in any case.

        Raises:
            UserError: there is no such model, it is not whole, or the network does not give it.
        """
        place = resolve_model(pretrained)
        tokenizer = load_tokenizer(pretrained)
        options = {"dtype": getattr(torch, dtype), "low_cpu_mem_usage": False}
        try:
            with quiet():
                return cls(
                    name=pretrained,
                    tokenizer=tokenizer,
                    text_encoder=CLIPTextModel.from_pretrained(place, subfolder="text_encoder", dtype=options["dtype"]),
                    vae=AutoencoderKL.from_pretrained(place, subfolder="vae", **options),
                    unet=UNet2DConditionModel.from_pretrained(place, subfolder="unet", **options),
                    scheduler=DDPMScheduler.from_pretrained(place, subfolder="scheduler"),
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise explain_failure(pretrained, error) from error

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropout in a frozen model would only be noise."""
        del mode
        return super().train(False)

    @property
    def vae(self) -> AutoencoderKL:
        """Between pictures and latents. `to` leaves it where it is: it waits on the CPU while nothing needs it."""
        return self.vae_on_call.part

    @property
    def tables(self) -> dict[str, Tensor]:
        """The frozen vocabulary [V, D] of each text encoder."""
        return {ENCODER: self.lens.weight.detach()}

    @property
    def resolution(self) -> int:
        """The side of the square that the U-Net was trained on, in pixels."""
        return self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the U-Net was trained with; no buffer, so it stays float32 in every precision."""
        if self._schedule.alphas_cumprod.device != self.unet.device:
            self._schedule = replace(self._schedule, alphas_cumprod=self._schedule.alphas_cumprod.to(self.unet.device))
        return self._schedule

    def encode_images(self, pixels_B3HW: Tensor) -> Tensor:
        """Moments [B, 2C, h, w] of pictures in [-1, 1]: mean and log-variance, unscaled; computed where the VAE is."""
        with torch.no_grad():
            return self.vae.encode(pixels_B3HW.to(self.vae.device, self.vae.dtype)).latent_dist.parameters

    def decode_latents(self, x_BChw: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [0, 1], float32, of scaled latents; computed where those are."""
        with torch.no_grad(), self.vae_on_call.at(x_BChw.device) as vae:
            pixels_B3HW = vae.decode((x_BChw / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        return (pixels_B3HW.float() * 0.5 + 0.5).clamp(0, 1)

    def sample_latents(self, moments_B2Chw: Tensor, noise_BChw: Tensor) -> Tensor:
        """Latents [B, C, h, w] drawn from the posterior and scaled as the U-Net expects them."""
        return sample_moments(moments_B2Chw, noise_BChw) * self.vae.config.scaling_factor

    def encode_text(self, captions: Sequence[str], vectors: Vectors) -> Conditioning:
        """The last hidden state of captions in which the learned words may stand; gradients reach the rows."""
        rows = {placeholder: by_encoder[ENCODER] for placeholder, by_encoder in vectors.items()}
        ids_BL = self.prompts.ids(captions, {word: len(rows_KD) for word, rows_KD in rows.items()})
        device = self.lens.weight.device
        with self.lens.over(torch.cat(list(rows.values())).to(device) if rows else None):
            return Conditioning(self.text_encoder(ids_BL.to(device)).last_hidden_state)

    def predict(self, x_t_BChw: Tensor, t_B: Tensor, conditioning: Conditioning, geometry_B6: Tensor) -> Tensor:
        """The U-Net's output [B, C, h, w]; Stable Diffusion 1 and 2 take no notice of the geometry."""
        del geometry_B6
        dtype = self.unet.dtype
        hidden = conditioning.hidden.to(dtype)
        return self.unet(x_t_BChw.to(dtype), t_B, encoder_hidden_states=hidden, return_dict=False)[0]

    def sample(self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1], float32 on the CPU; `tinv.models.sampling.sample_pixels` has the options."""
        return sample_pixels(self, prompts, vectors, seeds=seeds, **options)

    def generate(
        self, prompts: Sequence[str], vectors: Vectors, *, seeds: Sequence[int], **options: Any
    ) -> list[Image.Image]:
        """One picture a prompt, the same for the same prompt and seed whatever stands beside it."""
        return to_pictures(self.sample(prompts, vectors, seeds=seeds, **options))


def load_tokenizer(pretrained: str) -> CLIPTokenizer:
    """The tokenizer alone, in a moment: enough to check a concept's words before any weight is loaded.

    Raises:
        UserError: as `StableDiffusion.load`.
    """
    try:
        with quiet():
            return CLIPTokenizer.from_pretrained(resolve_model(pretrained), subfolder="tokenizer")
    except (OSError, ValueError) as error:
        raise explain_failure(pretrained, error) from error


def _fingerprint(model: StableDiffusion) -> str:
    """12 hex digits that tell one frozen model from another, from its configuration and the head of every tensor.

    The heads are rounded to bfloat16, so that the precision in which a model is loaded makes no difference.
    """
    digest = blake2b(digest_size=6)
    for config in (model.text_encoder.config.to_dict(), dict(model.vae.config), dict(model.unet.config)):
        shape = {key: value for key, value in config.items() if isinstance(value, int | float) and key[0] != "_"}
        digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update(json.dumps([model.schedule.prediction_type, len(model.schedule.alphas_cumprod)]).encode())
    parts = {"lens": model.lens, "text_encoder": model.text_encoder, "vae": model.vae, "unet": model.unet}
    for name, tensor in nn.ModuleDict(parts).named_parameters():
        head = tensor.detach().flatten()[:16].to("cpu", torch.bfloat16).view(torch.int16)
        digest.update(name.encode() + bytes(head.numpy().tobytes()))
    return digest.hexdigest()
