"""Stage flow: trains a tiny Flux transformer and its T5 text encoder by flow matching.

The pooled vector comes from the toybox's own CLIP, which stays frozen, and the latents from its VAE. The rate stays
constant in this stage; stage `flow_decay` decays it from any checkpoint. So the training can be extended at any time,
and a finished model can be had at any time.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, T5Config, T5EncoderModel

from tinv.models.cpu_features import autocast_bfloat16
from tinv.toybox.pretrain import checkpoint, parallel
from tinv.toybox.pretrain.clip import trimmed
from tinv.toybox.pretrain.schedule import generator
from tinv.toybox.pretrain.settings import FlowSettings
from tinv.toybox.pretrain.t5_tokenizer import MAX_LENGTH
from tinv.toybox.pretrain.training import ModuleTraining

WARMUP = 100
"""Steps over which the rate rises to its peak."""
PADDED_TO_MULTIPLE = 8
"""Flux attends to padding. Each batch is padded to a random multiple of 8 tokens up to the tokenizer's `MAX_LENGTH`, so
the model does not depend on the pipeline's `max_sequence_length`.
"""


@dataclass(frozen=True)
class CaptionIds:
    """Token ids of the captions for one text encoder."""

    ids: Tensor
    """[N, K, L] int16, K captions of each image."""
    empty: Tensor
    """[L], of the empty caption."""

    def choose(self, images: Tensor, wording: Tensor, dropped: Tensor) -> Tensor:
        """Returns a caption of each image, [B, L] int64; the empty one where `dropped` [B] is true."""
        chosen = self.ids[images, wording].long()
        chosen[dropped] = self.empty.long()
        return chosen


@dataclass(frozen=True)
class FlowTrainingSet:
    """The training data of the flow model."""

    latents: Tensor
    """Scaled, [N, C, 16, 16] or [2N, C, 16, 16]: a second half holds the mirror images of the first."""
    clip: CaptionIds
    t5: CaptionIds


@dataclass(frozen=True)
class FlowData:
    """What the stages train on."""

    seen: FlowTrainingSet
    unseen: FlowTrainingSet
    """For the held-out loss."""
    clip: CLIPTextModel
    """Gives the pooled vectors; frozen."""
    vocabulary: int
    """Number of T5's pieces."""


@dataclass(frozen=True)
class FlowBatch:
    """Noisy latents, the velocity to predict, and the captions."""

    noisy: Tensor
    """[B, 64, 4C], packed as Flux does."""
    velocity: Tensor
    """Noise minus latents, packed."""
    levels: Tensor
    """Shares of noise in (0, 1), [B]."""
    pooled: Tensor
    """CLIP's pooled vectors."""
    ids: Tensor
    """T5's token ids."""


class FlowModel(nn.Module):
    """The two parts that are trained."""

    def __init__(self, settings: FlowSettings, *, latent_channels: int, pooled_width: int, vocabulary: int) -> None:
        super().__init__()
        heads = settings.width // settings.head_width
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * latent_channels,
            num_layers=settings.double_blocks,
            num_single_layers=settings.single_blocks,
            attention_head_dim=settings.head_width,
            num_attention_heads=heads,
            joint_attention_dim=settings.text_width,
            pooled_projection_dim=pooled_width,
            guidance_embeds=False,
            axes_dims_rope=settings.rope_widths,
        )
        self.text_encoder = T5EncoderModel(
            T5Config(
                vocab_size=vocabulary,
                d_model=settings.text_width,
                d_kv=settings.head_width,
                d_ff=settings.text_feed_forward,
                num_layers=settings.text_layers,
                num_heads=settings.text_width // settings.head_width,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
            )
        )

    def forward(self, batch: FlowBatch) -> Tensor:
        """Returns the predicted velocity, packed."""
        device = batch.noisy.device
        side = int(batch.noisy.shape[1] ** 0.5)
        image_ids = FluxPipeline._prepare_latent_image_ids(1, side, side, device, torch.float32)
        text = self.text_encoder(batch.ids).last_hidden_state
        return self.transformer(
            hidden_states=batch.noisy,
            encoder_hidden_states=text,
            pooled_projections=batch.pooled,
            timestep=batch.levels,
            img_ids=image_ids,
            txt_ids=torch.zeros(text.shape[1], 3, device=device),
            return_dict=False,
        )[0]


def pack(latents: Tensor) -> Tensor:
    """Returns the latents [B, C, H, W] as tokens of 2 x 2, [B, H W / 4, 4C]."""
    return FluxPipeline._pack_latents(latents, *latents.shape)


def padded_length(ids: Tensor, pad: int, rng: torch.Generator) -> int:
    """Returns a random multiple of 8 that is at least the length of the longest caption."""
    longest = int((ids != pad).sum(1).max())
    least = -(-longest // PADDED_TO_MULTIPLE)
    most = max(least, MAX_LENGTH // PADDED_TO_MULTIPLE)
    return PADDED_TO_MULTIPLE * int(torch.randint(least, most + 1, (1,), generator=rng))


def draw_batch(
    training_set: FlowTrainingSet, clip: CLIPTextModel, settings: FlowSettings, chosen: Tensor, rng: torch.Generator
) -> FlowBatch:
    """Returns noise, levels and captions for the chosen images: this process's share.

    Args:
        training_set: the latents and captions.
        clip: gives the pooled vectors; frozen.
        settings: device, distribution of levels, caption dropout.
        chosen: indices of images, [B].
        rng: source of all randomness.
    """
    size, device, captions = len(chosen), settings.device, len(training_set.t5.ids)
    latents = training_set.latents[chosen].float()
    wording = torch.randint(0, training_set.t5.ids.shape[1], (size,), generator=rng)
    dropped = torch.rand(size, generator=rng) < settings.caption_dropout
    levels = torch.sigmoid(torch.randn(size, generator=rng) * settings.level_std + settings.level_mean)
    noise = torch.randn(latents.shape, generator=rng)
    t5_ids = training_set.t5.choose(chosen % captions, wording, dropped)
    t5_ids = t5_ids[:, : padded_length(t5_ids, 0, rng)]
    clip_ids = training_set.clip.choose(chosen % captions, wording, dropped)
    share = levels[:, None, None, None]
    tensors = (pack((1 - share) * latents + share * noise), pack(noise - latents), levels, t5_ids, clip_ids)
    noisy, velocity, levels, t5_ids, clip_ids = (parallel.share(tensor).to(device) for tensor in tensors)
    with torch.no_grad(), autocast_bfloat16(device):
        pooled = clip(trimmed(clip_ids, clip.config.eos_token_id)).pooler_output
    return FlowBatch(noisy, velocity, levels, pooled, t5_ids)


def velocity_errors(model: FlowModel, batch: FlowBatch) -> Tensor:
    """Returns the mean squared error of the predicted velocity, [B]."""
    with autocast_bfloat16(batch.noisy.device.type):
        predicted = model(batch)
    return (predicted.float() - batch.velocity).square().mean((1, 2))


@torch.no_grad()
def held_out_error(model: FlowModel, data: FlowData, settings: FlowSettings) -> float:
    """Returns the mean squared error on unseen images with fixed levels and noise."""
    rng = generator(settings.seed + 1, 0)
    parts = torch.arange(len(data.unseen.latents)).split(100)
    errors = [velocity_errors(model, draw_batch(data.unseen, data.clip, settings, part, rng)) for part in parts]
    return parallel.mean(torch.cat(errors).mean())


def new_training(data: FlowData, settings: FlowSettings) -> ModuleTraining[FlowModel]:
    """Returns the training of an untrained model.

    On a CPU, plain attention takes a quarter less time than torch's fused attention.
    """
    torch.manual_seed(settings.seed)
    model = FlowModel(
        settings,
        latent_channels=data.seen.latents.shape[1],
        pooled_width=data.clip.config.hidden_size,
        vocabulary=data.vocabulary,
    )
    if settings.device == "cpu":
        model.transformer.set_attention_backend("_native_math")
    return ModuleTraining(model.to(settings.device), settings)


def train_flow(out: Path, data: FlowData, settings: FlowSettings) -> None:
    """Trains at a constant rate: the state into `out/flow.pt`, the averaged weights into `out/flow`.

    If that folder exists without a state (`unpack`), training starts from its weights.
    """
    training = new_training(data, settings)
    if not training.restore(out / "flow.pt") and (out / "flow").exists():
        model = training.module
        transformer = FluxTransformer2DModel.from_pretrained(out / "flow" / "transformer")
        text_encoder = T5EncoderModel.from_pretrained(out / "flow" / "text_encoder_2")
        model.transformer.load_state_dict(transformer.state_dict())
        model.text_encoder.load_state_dict(text_encoder.state_dict())
        training = ModuleTraining(model, settings)
        training.samples = json.loads((out / "flow.json").read_text())["samples"]
    train_until(settings.samples // settings.batch, out / "flow.pt", training, data, settings)


def decay_flow(out: Path, data: FlowData, settings: FlowSettings) -> None:
    """Decays the rate to zero from the state of `train_flow`, into `out/flow_decay.pt` and `out/flow_decay`.

    A branch that is unfinished is resumed; after a finished one, a new branch starts if `train_flow` has gone on.
    """
    steps = settings.decay_samples // settings.batch
    training, branch = new_training(data, settings), new_training(data, settings)
    if not training.restore(out / "flow.pt"):
        raise FileNotFoundError(f"{out / 'flow.pt'}: stage flow has not written a checkpoint yet. Run it first.")
    if branch.restore(out / "flow_decay.pt") and branch.decay_start is not None:
        finished = branch.step >= branch.decay_start + steps
        if not finished or branch.decay_start == training.step:
            training = branch
    if training.decay_start is None:
        training.decay_start = training.step
    train_until(training.decay_start + steps, out / "flow_decay.pt", training, data, settings)


def train_until(
    last_step: int, file: Path, training: ModuleTraining[FlowModel], data: FlowData, settings: FlowSettings
) -> None:
    """Trains up to a step; every checkpoint writes the state to `file` and publishes the averaged weights."""
    model, start = training.module, time.perf_counter()
    recent: list[float] = []
    while training.step < last_step:
        rng = generator(settings.seed, training.step)
        chosen = torch.randint(0, len(data.seen.latents), (settings.batch,), generator=rng)
        error = velocity_errors(model, draw_batch(data.seen, data.clip, settings, chosen, rng)).mean()
        rate = min(1.0, (training.step + 1) / WARMUP)
        if training.decay_start is not None:
            rate = (last_step - training.step) / (last_step - training.decay_start)
        training.update(error, rate=rate, samples=settings.batch)
        recent.append(float(error.detach()))
        if training.step % 50 == 0 and parallel.rank() == 0:
            speed = len(recent) * settings.batch / (time.perf_counter() - start)
            loss = sum(recent) / len(recent)
            print(f"{file.stem}: step {training.step}/{last_step}, loss {loss:.4f}, {speed:.0f} images/s", flush=True)
            recent, start = [], time.perf_counter()
        stop = training.step in (last_step, settings.stop_at)
        if training.step % settings.checkpoint_every == 0 or stop:
            if parallel.rank() == 0:
                training.save(file)
            training.average.swap()
            loss = held_out_error(model, data, settings)
            if parallel.rank() == 0:
                publish(file.with_suffix(""), model, {"samples": training.samples, "held_out_loss": loss})
            training.average.swap()
        if stop:
            return


def publish(folder: Path, model: FlowModel, facts: dict[str, Any]) -> None:
    """Writes the current weights to a folder, and the facts about them beside it."""
    print(f"{folder.name}: {facts}", flush=True)
    partial = folder.with_suffix(".part")
    model.transformer.save_pretrained(partial / "transformer")
    model.text_encoder.save_pretrained(partial / "text_encoder_2")
    checkpoint.replace_folder(partial, folder)
    checkpoint.write_json(folder.with_suffix(".json"), facts)
