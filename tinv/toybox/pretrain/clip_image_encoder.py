"""Stage 4, image_encoder: continues the training of CLIP's image encoder with a frozen text encoder.

The denoiser depends on the text encoder, which is fixed from here on. The image encoder, which computes the metrics, is
trained for them:

- The images are sometimes blurred or noisy, like samples.
- Claims (`tinv.toybox.pretrain.claims`) are added to the captions. With the contrastive loss alone, "a robot on the
  beach" is most similar to a robot without further attributes, and least similar to a green one with stripes. So a
  claim is compared with every image of the batch, and has the same target cosine with all images of which it is true.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from tinv.models.cpu_features import autocast_bfloat16
from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.claims import as_tensor, encode_attributes, match_claims, random_claim
from tinv.toybox.pretrain.clip import MAX_LOGIT_SCALE, caption_ids, to_pixels, trimmed
from tinv.toybox.pretrain.images import TRAINING_SEEDS
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.pretrain.settings import ImageEncoderSettings
from tinv.toybox.world import describe

TRUE, FALSE = 0.6, 0.3
"""The target cosine of an image and a true claim, and the largest cosine with a false claim."""


class FrozenTextClip(nn.Module):
    """A CLIP model with a frozen text encoder."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        for name, weight in clip.named_parameters():
            weight.requires_grad_(not name.startswith("text_model."))

    def encode_texts(self, ids: Tensor) -> Tensor:
        """Returns the unit-length features [B, D] of captions [B, L]."""
        return functional.normalize(self.clip.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)

    def encode_images(self, images: Tensor) -> Tensor:
        """Returns the unit-length features [B, D] of images [B, 3, 64, 64] in [-1, 1]."""
        return functional.normalize(self.clip.get_image_features(pixel_values=images).pooler_output.float(), dim=-1)

    def contrastive_loss(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Returns the symmetric contrastive loss of images and their captions."""
        logits = self.clip.logit_scale.exp() * image_features @ text_features.T
        own = torch.arange(len(image_features), device=image_features.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2

    def claim_loss(
        self, image_features: Tensor, text_features: Tensor, claim_attributes: Tensor, image_attributes: Tensor
    ) -> Tensor:
        """Returns the squared error of the cosines: from `TRUE` for true claims, above `FALSE` for false ones."""
        true, is_decidable = match_claims(claim_attributes, image_attributes)
        cosines = text_features @ image_features.T
        return (cosines[true & is_decidable] - TRUE).square().mean() + (
            cosines[~true & is_decidable] - FALSE
        ).relu().square().mean()


def degrade(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirrors, blurs and adds noise at random to each image [B, 3, H, W] in [-1, 1]."""
    count, side = len(images), images.shape[-1]
    uniform = torch.rand(4, count, generator=rng)
    images = torch.where((uniform[0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
    small = functional.interpolate(images, size=int(side * 0.625), mode="bilinear", antialias=True)
    blurred = functional.interpolate(small, size=side, mode="bicubic").clamp(-1, 1)
    strength = torch.where(uniform[1] < 0.5, uniform[2], 0.0).view(-1, 1, 1, 1)
    grain = torch.randn(images.shape, generator=rng) * (0.1 * (uniform[3] - 0.5).clamp_min(0)).view(-1, 1, 1, 1)
    return images.lerp(blurred, strength) + grain


def train_image_encoder(
    out: Path, images: Tensor, ids: Tensor, tokenizer: CLIPTokenizer, settings: ImageEncoderSettings
) -> None:
    """Trains the image encoder of `out/clip` into `out/image_encoder`.

    Args:
        out: the folder of the pretraining.
        images: [N, 3, 64, 64] uint8, the first N training images.
        ids: [N, K, L] int16, K captions each.
        tokenizer: that of the text encoder.
        settings: length and rates.
    """
    if (out / "image_encoder").exists():
        return
    torch.manual_seed(settings.seed)
    image_attributes = as_tensor([encode_attributes(describe(TRAINING_SEEDS + index)) for index in range(len(images))])
    image_encoder = FrozenTextClip(CLIPModel.from_pretrained(out / "clip")).to(settings.device)
    optimizers = build_optimizers(image_encoder, muon_rate=settings.muon_rate, rate=settings.rate)
    average = checkpoint.Average(image_encoder)
    steps, step = settings.samples // settings.batch, 0
    state = checkpoint.load(out / "image_encoder.pt")
    if state is not None:
        image_encoder.load_state_dict(state["model"])
        average.restore(state["average"])
        for optimizer, saved in zip(optimizers, state["tools"], strict=True):
            optimizer.load_state_dict(saved)
        step = state["step"]
    recent: list[tuple[float, float]] = []
    while step < steps:
        for optimizer in optimizers:
            set_learning_rate(optimizer, learning_rate(step, steps, 1.0, decay=settings.decay))
        rng = generator(settings.seed + 1, step)
        chosen = torch.randint(0, len(images), (settings.batch,), generator=rng)
        wording = torch.randint(0, ids.shape[1], (settings.batch,), generator=rng)
        claim_rng = np.random.default_rng([settings.seed, step])
        claims = [random_claim(claim_rng, own) for own in image_attributes[chosen].tolist()]
        claim_ids = caption_ids(tokenizer, [[claim.caption] for claim in claims])[:, 0]
        claim_attributes = as_tensor([claim.attributes for claim in claims])
        degraded = degrade(to_pixels(images[chosen]), rng).to(settings.device)
        with autocast_bfloat16(settings.device):
            image_features = image_encoder.encode_images(degraded)
            caption_features = image_encoder.encode_texts(
                trimmed(ids[chosen, wording], tokenizer.eos_token_id).to(settings.device)
            )
            claim_features = image_encoder.encode_texts(trimmed(claim_ids, tokenizer.eos_token_id).to(settings.device))
        contrastive_loss = image_encoder.contrastive_loss(image_features, caption_features)
        claim_loss = image_encoder.claim_loss(
            image_features,
            claim_features,
            claim_attributes.to(settings.device),
            image_attributes[chosen].to(settings.device),
        )
        image_encoder.zero_grad()
        (contrastive_loss + settings.claims * claim_loss).backward()
        for optimizer in optimizers:
            optimizer.step()
        image_encoder.clip.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        average.update(step)
        step += 1
        recent.append((contrastive_loss.item(), claim_loss.item()))
        if step % 50 == 0:
            means = np.mean(recent[-50:], axis=0)
            print(f"image_encoder: step {step}/{steps}, loss {means[0]:.3f}, claims {means[1]:.3f}", flush=True)
        if step % settings.checkpoint_every == 0 or step == settings.stop_at:
            tensors = {"model": image_encoder.state_dict(), "average": average.state()}
            checkpoint.save(
                out / "image_encoder.pt",
                tensors | {"tools": [optimizer.state_dict() for optimizer in optimizers], "step": step},
            )
        if step == settings.stop_at:
            return
    average.swap()
    partial = out / "image_encoder.part"
    image_encoder.clip.save_pretrained(partial)
    partial.rename(out / "image_encoder")
    contrastive_loss_mean, claim_loss_mean = (float(mean) for mean in np.mean(recent[-50:], axis=0))
    facts_of_stage = {
        "samples": steps * settings.batch,
        "contrastive_loss": contrastive_loss_mean,
        "claim_loss": claim_loss_mean,
    }
    checkpoint.write_json(out / "image_encoder.json", facts_of_stage)
