"""Stage 4, eyes: CLIP's image tower goes on learning while the words stay as they are.

The denoiser listens to the text tower, so that one is fixed from here on. The image tower still has to become a good
judge, and is shown what a judge will see:

- pictures that are blurred or noisy at times, as generated ones are;
- claims (`tinv.toybox.pretrain.claims`) beside whole captions. A contrastive loss alone makes "a robot on the beach"
  look most like a robot of which nothing else could be said, and least like a green one with stripes. So a claim is
  held against every picture of the batch, and all of which it is true are asked for the same cosine.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from tinv.models.cpu_features import autocast_bfloat16
from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.claims import as_tensor, claim_about, facts, truth
from tinv.toybox.pretrain.clip import MAX_LOGIT_SCALE, caption_ids, pixels, trimmed
from tinv.toybox.pretrain.images import TRAINING_SEEDS
from tinv.toybox.pretrain.muon import optimizers
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.pretrain.settings import EyesSettings
from tinv.toybox.world import describe

TRUE, FALSE = 0.6, 0.3
"""The cosine of a picture and a claim that is true of it, and the most that one may have with a false one."""


class Eyes(nn.Module):
    """A CLIP whose text tower is fixed."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        for name, weight in clip.named_parameters():
            weight.requires_grad_(not name.startswith("text_model."))

    def read(self, ids: Tensor) -> Tensor:
        """Unit-length features of captions, [B, L] to [B, D]."""
        return functional.normalize(self.clip.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)

    def see(self, images: Tensor) -> Tensor:
        """Unit-length features of pictures in [-1, 1], [B, 3, 64, 64] to [B, D]."""
        return functional.normalize(self.clip.get_image_features(pixel_values=images).pooler_output.float(), dim=-1)

    def contrast(self, seen: Tensor, read: Tensor) -> Tensor:
        """The symmetric contrastive loss of pictures and their own captions."""
        logits = self.clip.logit_scale.exp() * seen @ read.T
        own = torch.arange(len(seen), device=seen.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2

    def judgement(self, seen: Tensor, read: Tensor, said: Tensor, known: Tensor) -> Tensor:
        """How far the cosines of claims [C] with pictures [B] are from `TRUE` if true, and above `FALSE` if not."""
        true, told = truth(said, known)
        cosines = read @ seen.T
        return (cosines[true & told] - TRUE).square().mean() + (cosines[~true & told] - FALSE).relu().square().mean()


def as_generated(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror, blur and grain at random, picture by picture: [B, 3, H, W] in [-1, 1]."""
    count, side = len(images), images.shape[-1]
    chance = torch.rand(4, count, generator=rng)
    images = torch.where((chance[0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
    small = functional.interpolate(images, size=int(side * 0.625), mode="bilinear", antialias=True)
    blurred = functional.interpolate(small, size=side, mode="bicubic").clamp(-1, 1)
    strength = torch.where(chance[1] < 0.5, chance[2], 0.0).view(-1, 1, 1, 1)
    grain = torch.randn(images.shape, generator=rng) * (0.1 * (chance[3] - 0.5).clamp_min(0)).view(-1, 1, 1, 1)
    return images.lerp(blurred, strength) + grain


def train_eyes(out: Path, images: Tensor, ids: Tensor, tokenizer: CLIPTokenizer, settings: EyesSettings) -> None:
    """Train the image tower of `out/clip` on, into `out/eyes`.

    Args:
        out: the folder of the pretraining.
        images: [N, 3, 64, 64] uint8, the first N training pictures.
        ids: [N, K, L] int16, K captions each.
        tokenizer: that of the text tower.
        settings: length and rates.
    """
    if (out / "eyes").exists():
        return
    torch.manual_seed(settings.seed)
    known = as_tensor([facts(describe(TRAINING_SEEDS + index)) for index in range(len(images))])
    eyes = Eyes(CLIPModel.from_pretrained(out / "clip")).to(settings.device)
    tools = optimizers(eyes, muon_rate=settings.muon_rate, rate=settings.rate)
    average = checkpoint.Average(eyes)
    steps, step = settings.samples // settings.batch, 0
    state = checkpoint.load(out / "eyes.pt")
    if state is not None:
        eyes.load_state_dict(state["model"])
        average.restore(state["average"])
        for tool, saved in zip(tools, state["tools"], strict=True):
            tool.load_state_dict(saved)
        step = state["step"]
    recent: list[tuple[float, float]] = []
    while step < steps:
        for tool in tools:
            set_learning_rate(tool, learning_rate(step, steps, 1.0, decay=settings.decay))
        rng = generator(settings.seed + 1, step)
        chosen = torch.randint(0, len(images), (settings.batch,), generator=rng)
        wording = torch.randint(0, ids.shape[1], (settings.batch,), generator=rng)
        writer = np.random.default_rng([settings.seed, step])
        claims = [claim_about(writer, own) for own in known[chosen].tolist()]
        brief = caption_ids(tokenizer, [[claim.caption] for claim in claims])[:, 0]
        said = as_tensor([claim.said for claim in claims])
        shown = as_generated(pixels(images[chosen]), rng).to(settings.device)
        with autocast_bfloat16(settings.device):
            seen = eyes.see(shown)
            whole = eyes.read(trimmed(ids[chosen, wording], tokenizer.eos_token_id).to(settings.device))
            words = eyes.read(trimmed(brief, tokenizer.eos_token_id).to(settings.device))
        contrast = eyes.contrast(seen, whole)
        judgement = eyes.judgement(seen, words, said.to(settings.device), known[chosen].to(settings.device))
        eyes.zero_grad()
        (contrast + settings.claims * judgement).backward()
        for tool in tools:
            tool.step()
        eyes.clip.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        average.update(step)
        step += 1
        recent.append((contrast.item(), judgement.item()))
        if step % 50 == 0:
            means = np.mean(recent[-50:], axis=0)
            print(f"eyes: step {step}/{steps}, contrast {means[0]:.3f}, judgement {means[1]:.3f}", flush=True)
        if step % settings.checkpoint_every == 0 or step == settings.stop_at:
            tensors = {"model": eyes.state_dict(), "average": average.state()}
            checkpoint.save(out / "eyes.pt", tensors | {"tools": [tool.state_dict() for tool in tools], "step": step})
        if step == settings.stop_at:
            return
    average.swap()
    partial = out / "eyes.part"
    eyes.clip.save_pretrained(partial)
    partial.rename(out / "eyes")
    contrast_mean, judgement_mean = (float(mean) for mean in np.mean(recent[-50:], axis=0))
    facts_of_stage = {"samples": steps * settings.batch, "contrast": contrast_mean, "judgement": judgement_mean}
    checkpoint.write_json(out / "eyes.json", facts_of_stage)
