"""Stable Diffusion XL, frozen, with room for learned words in both of its text encoders.

B batch, C latent channels, h w latent height and width, L tokens, D width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tinv.models.base import LatentDiffusion
from tinv.models.text_encoder import TextEncoder
from tinv.silence import quiet
from tinv.types import Conditioning, Vectors

ENCODERS = ("clip_l", "clip_g")


class StableDiffusionXL(LatentDiffusion):
    """Two text encoders, of both of which the U-Net looks at the last hidden state but one, side by side."""

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
        parts = ((tokenizer, text_encoder), (tokenizer_2, text_encoder_2))
        texts = [
            TextEncoder(encoder, tokenizer=words, encoder=module)
            for encoder, (words, module) in zip(ENCODERS, parts, strict=True)
        ]
        super().__init__(texts, name=name, vae=vae, unet=unet, scheduler=scheduler, revision=revision)
        self.text_encoder, self.text_encoder_2 = text_encoder, text_encoder_2
        self.tokenizer, self.tokenizer_2 = tokenizer, tokenizer_2
        self.zero_for_nothing = zero_for_nothing
        self.fingerprint = self._fingerprint({"text_encoder": text_encoder, "text_encoder_2": text_encoder_2})

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
