"""Stable Diffusion 1 and 2, frozen, with room for learned words.

B batch, C latent channels, h w latent height and width.
"""

from collections.abc import Sequence
from typing import Any

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tinv.formats import encoder_of_width
from tinv.models.base import LatentDiffusion
from tinv.models.text_encoder import TextEncoder
from tinv.silence import quiet
from tinv.types import Conditioning, Vectors


class StableDiffusion(LatentDiffusion):
    """One text encoder, whose last hidden state the U-Net looks at."""

    zero_for_nothing = False

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
        width = text_encoder.get_input_embeddings().embedding_dim
        text = TextEncoder(encoder_of_width(width), tokenizer=tokenizer, encoder=text_encoder)
        super().__init__([text], name=name, vae=vae, unet=unet, scheduler=scheduler, revision=revision)
        self.token_lookup, self.text_encoder, self.tokenizer = text.token_lookup, text_encoder, tokenizer
        self.fingerprint = self._fingerprint({"lens": self.token_lookup, "text_encoder": text_encoder})

    def encode_text(self, captions: Sequence[str], vectors: Vectors) -> Conditioning:
        """The last hidden state of captions in which the learned words may stand; gradients reach the rows."""
        (text,) = self._texts
        output, _ = text.read(captions, vectors)
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
