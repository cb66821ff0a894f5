"""Stage 3, clip: trains the text and the image encoder of a CLIP model.

The text encoder becomes that of the pipeline, as in Stable Diffusion 1.x; the whole model computes the metrics.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig, PreTrainedTokenizerBase

from tinv.models.cpu_features import autocast_bfloat16
from tinv.toybox.pretrain import checkpoint
from tinv.toybox.pretrain.muon import build_optimizers
from tinv.toybox.pretrain.schedule import generator, learning_rate, set_learning_rate
from tinv.toybox.pretrain.settings import ClipSettings

MAX_LOGIT_SCALE = math.log(100)


def new_clip(settings: ClipSettings, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Returns an untrained CLIP model."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.text_width,
        intermediate_size=4 * settings.text_width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.text_width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=settings.projection,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=settings.vision_width,
        intermediate_size=4 * settings.vision_width,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=settings.vision_width // 32,
        image_size=64,
        patch_size=settings.patch,
        projection_dim=settings.projection,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=settings.projection)
    return CLIPModel(config)


def caption_ids(tokenizer: PreTrainedTokenizerBase, captions: list[list[str]]) -> Tensor:
    """Token ids of all captions, [N, K, L] int16, padded to the longest."""
    flat = [caption for several in captions for caption in several]
    ids = tokenizer(flat, padding="longest", truncation=True, return_tensors="np").input_ids
    return torch.from_numpy(ids.astype(np.int16)).view(len(captions), len(captions[0]), -1)


def trimmed(ids: Tensor, eos: int) -> Tensor:
    """Ids as int64, cut after the longest caption's end: [B, L] to [B, l]. Attention is causal, so this is exact."""
    length = int((ids != eos).sum(1).max()) + 1
    return ids[:, :length].long()


def to_pixels(images: Tensor) -> Tensor:
    """What the image encoder reads: [B, 3, 64, 64] uint8 to float in [-1, 1]."""
    return images.float() / 127.5 - 1


def contrastive_loss(model: CLIPModel, ids: Tensor, images: Tensor, *, device: str) -> tuple[Tensor, Tensor]:
    """Returns the symmetric contrastive loss of a batch, and the share of captions whose own image matches best."""
    with autocast_bfloat16(device):
        output = model(input_ids=ids, pixel_values=to_pixels(images))
    logits = output.logits_per_text.float()
    own = torch.arange(len(ids), device=logits.device)
    loss = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    return loss, (logits.argmax(1) == own).float().mean()


def train_clip(out: Path, images: Tensor, ids: Tensor, tokenizer: CLIPTokenizer, settings: ClipSettings) -> None:
    """Trains both encoders into `out/clip`.

    Args:
        out: the folder of the pretraining.
        images: [N, 3, 64, 64] uint8.
        ids: [N, K, L] int16, K captions each.
        tokenizer: gives the ids of the special tokens.
        settings: size and length.
    """
    if (out / "clip").exists():
        return
    torch.manual_seed(settings.seed)
    device = settings.device
    model = new_clip(settings, tokenizer).to(device)
    optimizers = build_optimizers(model, muon_rate=settings.muon_rate, rate=settings.rate)
    steps, step = settings.samples // settings.batch, 0
    state = checkpoint.load(out / "clip.pt")
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["tools"], strict=True):
            optimizer.load_state_dict(saved)
        step = state["step"]
    recent: list[float] = []
    while step < steps:
        for optimizer in optimizers:
            set_learning_rate(optimizer, learning_rate(step, steps, 1.0, decay=settings.decay))
        rng = generator(settings.seed, step)
        chosen = torch.randint(0, len(images), (settings.batch,), generator=rng)
        wording = torch.randint(0, ids.shape[1], (settings.batch,), generator=rng)
        batch_ids = trimmed(ids[chosen, wording], tokenizer.eos_token_id)
        loss, _ = contrastive_loss(model, batch_ids.to(device), images[chosen].to(device), device=device)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        step += 1
        recent.append(loss.item())
        if step % 50 == 0:
            print(f"clip: step {step}/{steps}, loss {np.mean(recent[-50:]):.3f}", flush=True)
        if step % settings.checkpoint_every == 0 or step == settings.stop_at:
            state = {
                "model": model.state_dict(),
                "tools": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
            }
            checkpoint.save(out / "clip.pt", state)
        if step == settings.stop_at:
            return
    partial = out / "clip.part"
    model.save_pretrained(partial)
    partial.rename(out / "clip")
    facts = {"samples": steps * settings.batch, "loss": float(np.mean(recent[-50:]))}
    checkpoint.write_json(out / "clip.json", facts)
