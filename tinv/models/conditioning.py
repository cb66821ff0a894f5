"""Captions of words that have parts, for a U-Net that is told of each place what belongs there.

B batch, L tokens, P places, D width of the features, T training timesteps.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from tinv.diffusion.process import apply_guidance
from tinv.token_parts import (
    ConditioningSlot,
    SlotLayout,
    expand_parts,
    is_of_layers,
    mentioned,
    part_of,
    parts,
    stage_of,
)
from tinv.types import Batch, Conditioning, Vectors

if TYPE_CHECKING:
    from tinv.models.base import LatentDiffusion

_ARGUMENTS = ("sample", "timestep", "encoder_hidden_states")
_BLOCKS = ("down_blocks", "mid_block", "up_blocks")
_TOLD_BY_LAYER: WeakSet[nn.Module] = WeakSet()
"""U-Nets of which each layer takes its own."""


def predict_at(
    model: "LatentDiffusion",
    noisy_BChw: Tensor,
    t_B: Tensor,
    batch: Batch,
    vectors: Vectors,
    *,
    guidance: float | None,
) -> Tensor:
    """The denoiser's output [B, C, h, w] for the captions of a batch, each at its own timestep.

    Args:
        model: the frozen model.
        noisy_BChw: latents.
        t_B: timesteps.
        batch: gives the captions and the geometry.
        vectors: the learned words.
        guidance: how far to go from what their negatives say (DreamArtist, arXiv 2211.11337); None hears none.
    """

    def predict(is_negative: bool) -> Tensor:
        told = encode_at(model, batch.captions, vectors, t_B, is_negative=is_negative)
        return model.predict(noisy_BChw, t_B, told, batch.geometry)

    predicted_BChw = predict(False)
    return predicted_BChw if guidance is None else apply_guidance(predicted_BChw, predict(True), guidance)


def encode_at(
    model: "LatentDiffusion",
    captions: Sequence[str],
    vectors: Vectors,
    t_B: Tensor,
    *,
    is_negative: bool = False,
) -> Conditioning:
    """What the denoiser is told of each caption at the caption's own timestep; gradients reach the rows.

    Words that have parts and that no caption says are left out, as if they were not learned.

    Args:
        model: the frozen model.
        captions: B texts.
        vectors: the learned words.
        t_B: timesteps.
        is_negative: whether words that have a negative are to mean that.
    """
    words = mentioned(vectors, captions)
    spread = SlotLayout.over(words.values())
    stages = stage_of(t_B, spread.stages, len(model.schedule.alphas_cumprod)).tolist()
    by_layer = zip(*(spread.at_stage(stage, is_negative=is_negative) for stage in stages), strict=True)
    return _encode(model, captions, words, [[*places] for places in by_layer])


def encode_all_parts(
    model: "LatentDiffusion",
    captions: Sequence[str],
    vectors: Vectors,
    spread: SlotLayout,
    *,
    is_negative: bool = False,
) -> Conditioning:
    """What the denoiser is told of each caption in all places, [B, L, P * D]: `told_by_stage` chooses among them."""
    places = spread.places(is_negative=is_negative)
    return _encode(model, captions, vectors, [[place] * len(captions) for place in places])


@contextmanager
def route_by_timestep(unet: nn.Module, stages: int, num_timesteps: int) -> Iterator[None]:
    """While the block runs, the U-Net takes of what it is told, side by side, that of the stage of its timestep."""
    if stages == 1:
        yield
        return
    handle = route_by_timestep_hook(unet, stages, num_timesteps)
    try:
        yield
    finally:
        handle.remove()


def route_by_timestep_hook(unet: nn.Module, stages: int, num_timesteps: int) -> Any:
    """The same until the handle that it gives is removed."""

    def choose(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        given = {**dict(zip(_ARGUMENTS, positional)), **named}
        stage_B = stage_of(_each(given["timestep"], len(given["sample"])), stages, num_timesteps)
        given["encoder_hidden_states"] = at_stage(given["encoder_hidden_states"], stage_B, stages)
        more: Mapping[str, Tensor] | None = given.get("added_cond_kwargs")
        if more and "text_embeds" in more:
            given["added_cond_kwargs"] = {**more, "text_embeds": at_stage(more["text_embeds"], stage_B, stages)}
        return (), given

    return unet.register_forward_pre_hook(choose, with_kwargs=True)


def layers_of(unet: nn.Module) -> tuple[str, ...]:
    """The names of the layers that look at the text, in the order in which a picture passes them."""
    names = [name for name, part in unet.named_modules() if isinstance(part, Attention) and part.is_cross_attention]
    return tuple(sorted(names, key=lambda name: _BLOCKS.index(name.partition(".")[0])))


def route_by_layer(unet: nn.Module) -> None:
    """Have each layer that looks at the text take, of what all are told side by side, its own.

    For good, since activations may be computed again in the backward pass. What is told to all layers alike passes as
    it is: it is told apart by its width.
    """
    if unet in _TOLD_BY_LAYER:
        return
    _TOLD_BY_LAYER.add(unet)
    names = layers_of(unet)
    for number, name in enumerate(names):
        layer: Any = unet.get_submodule(name)
        width: int = layer.to_k.in_features
        layer.register_forward_pre_hook(partial(_choose, number * width, width, len(names)), with_kwargs=True)


def _choose(
    first: int, width: int, layers: int, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    told = named["encoder_hidden_states"]
    if told.shape[-1] == layers * width:
        named = {**named, "encoder_hidden_states": told[..., first : first + width]}
    return positional, named


def at_stage(features: Tensor, stage_B: Tensor, stages: int) -> Tensor:
    """[B, ..., D] of the features [B, ..., stages * D] of all stages side by side."""
    by_stage = features.unflatten(-1, (stages, -1)).movedim(-2, 1)
    return by_stage[torch.arange(len(features)), stage_B.cpu()]


def side_by_side(features: Tensor, places: int) -> Tensor:
    """[B, ..., P * D] of the features [P * B, ..., D] of the same captions in one place after the other."""
    return features.unflatten(0, (places, -1)).movedim(0, -2).flatten(-2)


def _encode(
    model: "LatentDiffusion",
    captions: Sequence[str],
    vectors: Vectors,
    places: Sequence[Sequence[ConditioningSlot]],
) -> Conditioning:
    """What is told of the captions in each of P places, side by side."""
    if not any(part_of(name) for rows in vectors.values() for name in rows):
        return model.encode_text(captions, vectors)
    if any(is_of_layers(parts(rows)) for rows in vectors.values()):
        route_by_layer(model.unet)
    flat = [place for of_all in places for place in of_all]
    texts, words = expand_parts(vectors, [*captions] * len(places), flat)
    told = model.encode_text(texts, words)
    pooled = None if told.pooled is None else side_by_side(told.pooled, len(places))
    return Conditioning(side_by_side(told.hidden, len(places)), pooled)


def _each(timestep: Any, count: int) -> Tensor:
    """The timestep [B] of each sample, however a pipeline gives it."""
    return torch.as_tensor(timestep).expand(count)
