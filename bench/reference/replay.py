"""Trains tinv on a recorded run: the same images, captions, timesteps and noise.

B batch, h w latents, K vectors, D width.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

import tinv.training.module
from bench.reference.record import observe
from tinv import formats
from tinv.config.validate import build
from tinv.training.module import TextualInversion
from tinv.types import Batch


@dataclass
class Replay:
    """The tensors of the run, under the names of the recording."""

    start: list[Tensor]
    """[K, D] of each text encoder."""
    first: dict[str, Tensor]
    """The parts of the first micro-batch."""
    losses: list[Tensor] = field(default_factory=list)
    """Of each micro-batch."""
    gradients: list[list[Tensor]] = field(default_factory=list)
    """Of each step, [K, D] of each text encoder."""
    vectors: list[list[Tensor]] = field(default_factory=list)
    """After each step."""


def replay(recording: dict[str, Any], cfg: DictConfig, folder: Path) -> Replay:
    """Train on the recorded micro-batches, and write the embedding.

    Args:
        recording: from `bench.reference.record`.
        cfg: checked settings of the same run.
        folder: for the embedding file.
    """
    module: TextualInversion = build(cfg.module)
    replayed = Replay(
        [vectors_KD.detach().clone() for vectors_KD in _vectors(module)], _first(module, recording["batches"][0])
    )
    observe(module, "losses", lambda loss_B, *_, **__: replayed.losses.append(loss_B.detach().mean()))
    trainer: Trainer = build(cfg.trainer, callbacks=[_Listener(replayed)], logger=False)
    data = _Recorded(module, recording["batches"], cfg.data.batch_size)
    draws = {n: torch.stack([part["posterior"], part["noise"]]) for n, part in enumerate(recording["batches"])}
    with mock.patch.object(tinv.training.module, "normal_pair", lambda seeds, shape: draws[seeds[0]]):
        trainer.fit(module, data)
    formats.write(folder / "learned_embeds.safetensors", module.learned_embeddings()[0])
    return replayed


class _Recorded(LightningDataModule):
    """The recorded micro-batches, encoded by tinv."""

    def __init__(self, module: TextualInversion, batches: list[dict[str, Any]], batch_size: int):
        super().__init__()
        self.batch_size, self.datamodules = batch_size, [self]
        self.batches = [_batch(module, part, n) for n, part in enumerate(batches)]

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None)


class _Listener(Callback):
    def __init__(self, replayed: Replay):
        self.replayed = replayed

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        self.replayed.gradients.append([vectors_KD.grad.clone() for vectors_KD in _vectors(module)])

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.replayed.vectors):
            self.replayed.vectors.append([vectors_KD.detach().clone() for vectors_KD in _vectors(module)])


def _first(module: TextualInversion, part: dict[str, Any]) -> dict[str, Tensor]:
    """The intermediate tensors of one micro-batch."""
    model, batch = module.model, _batch(module, part, 0)
    clean_BChw = model.sample_latents(batch.moments, part["posterior"])
    noisy_BChw = model.noise_process.add_noise(clean_BChw, part["noise"], part["timesteps"])
    with torch.no_grad():
        conditioning = model.encode_text(batch.captions, module.learned_tokens[0].embedding.vectors())
        predicted_BChw = model.predict(noisy_BChw, part["timesteps"], conditioning, batch.geometry)
    pieces = {
        "moments": batch.moments,
        "noisy": noisy_BChw,
        "hidden": conditioning.hidden,
        "text_embeds": conditioning.pooled,
        "predicted": predicted_BChw,
    }
    return {name: value for name, value in pieces.items() if value is not None}


def _batch(module: TextualInversion, part: dict[str, Any], n: int) -> Batch:
    """A recorded micro-batch as a `Batch`; its noise seeds are its number."""
    pixels_B3HW, size = part["pixels"], len(part["pixels"])
    height, width = pixels_B3HW.shape[2:]
    square_B6 = torch.tensor([height, width, 0, 0, height, width]).expand(size, 6)
    expanded = " ".join(module.learned_tokens[0].concept.words(len(_vectors(module)[0])))
    return Batch(
        moments=torch.cat([module.model.encode_images(pixels[None]).float() for pixels in pixels_B3HW]),
        captions=[
            caption.replace(expanded, module.learned_tokens[0].concept.placeholder_token)
            for caption in part["captions"]
        ],
        geometry=part["time_ids"].view(size, 6) if "time_ids" in part else square_B6,
        level=(part["timesteps"].double() + 0.5) / module.model.noise_process.num_timesteps,
        noise_seeds=torch.full((size,), n),
        index=torch.zeros(size, dtype=torch.long),
    )


def _vectors(module: TextualInversion) -> list[Any]:
    """The trained vectors of each text encoder, in the model's order."""
    by_encoder = module.learned_tokens[0].embedding.vectors()[module.learned_tokens[0].concept.placeholder_token]
    return [by_encoder[encoder] for encoder in module.model.tables]
