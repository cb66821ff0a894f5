"""Conditioning that differs between timesteps or U-Net layers, for learned tokens with parts (see tinv/token_parts.py).

Ordinary tokens need nothing of this: for them, call `model.encode_text` and `model.predict`. Training and sampling
branch off to this module once, if `has_parts` is true of their vectors.

B batch, L tokens, S conditioning slots, D width of the features, T training timesteps.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any
from weakref import WeakSet

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from tinv.diffusion.process import apply_guidance
from tinv.models.base import LatentDiffusion
from tinv.token_parts import (
    ConditioningSlot,
    SlotLayout,
    expand_parts,
    has_parts,
    is_of_layers,
    mentioned,
    parts,
    stage_of,
)
from tinv.types import Batch, Conditioning, Vectors

_CONDITIONING = {
    "encoder_hidden_states",
    "cap_feats",
    "pooled_projections",
    "encoder_attention_mask",
}
"""The arguments of denoisers that hold the parts of a `Conditioning`; `attention_mask` covers the image, too. That of
Qwen-Image, `encoder_hidden_states_mask`, is the same for all slots."""
_BLOCKS = ("down_blocks", "mid_block", "up_blocks")
_ROUTED_BY_LAYER: WeakSet[nn.Module] = WeakSet()
"""U-Nets whose layers select their own slice of the conditioning."""


def predict_with_parts(
    model: LatentDiffusion, noisy_BChw: Tensor, t_B: Tensor, batch: Batch, vectors: Vectors, *, guidance: float | None
) -> Tensor:
    """The denoiser's output [B, C, h, w] for the captions of a batch, each at its own timestep.

    `guidance` is the scale of the guidance away from the tokens' negatives (DreamArtist, arXiv 2211.11337); None
    ignores the negatives.
    """

    def predict(is_negative: bool) -> Tensor:
        conditioning = encode_at_timesteps(model, batch.captions, vectors, t_B, is_negative=is_negative)
        return model.predict(noisy_BChw, t_B, conditioning, batch.geometry)

    predicted_BChw = predict(False)
    return predicted_BChw if guidance is None else apply_guidance(predicted_BChw, predict(True), guidance)


def encode_at_timesteps(
    model: LatentDiffusion, captions: Sequence[str], vectors: Vectors, t_B: Tensor, *, is_negative: bool
) -> Conditioning:
    """The conditioning of each caption at its own timestep, the layers side by side; gradients reach the vectors.

    Tokens with parts that no caption mentions are left out. `is_negative` selects the negative of tokens that have one.
    """
    tokens = mentioned(vectors, captions)
    layout = SlotLayout.of(tokens.values())
    stages = stage_of(t_B, layout.stages, model.noise_process.num_timesteps).tolist()
    slots_of_captions = [layout.at_stage(stage, is_negative=is_negative) for stage in stages]
    return _encode(model, captions, tokens, list(zip(*slots_of_captions, strict=True)), is_negative=is_negative)


def encode_all_parts(
    model: LatentDiffusion, captions: Sequence[str], vectors: Vectors, layout: SlotLayout, *, is_negative: bool = False
) -> Conditioning:
    """The conditioning of each caption in all slots, [B, L, S * D]; `route_by_timestep` selects among them.

    Masks are [B, S * L].
    """
    slots = layout.slots(is_negative=is_negative)
    return _encode(model, captions, vectors, [[slot] * len(captions) for slot in slots], is_negative=is_negative)


@contextmanager
def route_by_timestep(denoiser: nn.Module, stages: int, first_timestep: float, last_timestep: float) -> Iterator[None]:
    """While the block runs, the denoiser uses, of the conditioning of all stages, that of its timestep's stage.

    The denoiser gets `first_timestep` for latents without noise, `last_timestep` for pure noise.
    """
    if stages == 1:
        yield
        return
    handle = add_timestep_routing(denoiser, stages, first_timestep, last_timestep)
    try:
        yield
    finally:
        handle.remove()


def add_timestep_routing(denoiser: nn.Module, stages: int, first_timestep: float, last_timestep: float) -> Any:
    """Does what `route_by_timestep` does until the returned handle is removed."""
    names = [*signature(denoiser.forward).parameters]

    def select(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        arguments = {**dict(zip(names, positional)), **named}
        t = arguments["timestep" if "timestep" in arguments else "t"]
        text = arguments["encoder_hidden_states" if "encoder_hidden_states" in arguments else "cap_feats"]
        t_B = torch.as_tensor(t).expand(len(text))
        stage_B = stage_of(t_B - first_timestep, stages, last_timestep - first_timestep)
        for name in _CONDITIONING & arguments.keys():
            if arguments[name] is not None:
                arguments[name] = _at_stage(arguments[name], stage_B, stages)
        if arguments.get("attention_mask") is not None:
            length = stages * arguments["encoder_hidden_states"].shape[1]
            text, image = arguments["attention_mask"].tensor_split([length], dim=1)
            arguments["attention_mask"] = torch.cat([_at_stage(text, stage_B, stages), image], dim=1)
        added: Mapping[str, Tensor] | None = arguments.get("added_cond_kwargs")
        if added and "text_embeds" in added:
            arguments["added_cond_kwargs"] = {**added, "text_embeds": _at_stage(added["text_embeds"], stage_B, stages)}
        return (), arguments

    return denoiser.register_forward_pre_hook(select, with_kwargs=True)


def layers_of(unet: nn.Module) -> tuple[str, ...]:
    """The names of a U-Net's cross-attention layers, in the order in which an image passes them."""
    names = [name for name, part in unet.named_modules() if isinstance(part, Attention) and part.is_cross_attention]
    return tuple(sorted(names, key=lambda name: _BLOCKS.index(name.partition(".")[0])))


def route_by_layer(unet: nn.Module) -> None:
    """Make each cross-attention layer use its own slice of the conditioning of all layers, [B, L, S * D].

    The routing stays, because gradient checkpointing may run the layers again in the backward pass. Conditioning of
    the ordinary width D passes unchanged.
    """
    if unet in _ROUTED_BY_LAYER:
        return
    _ROUTED_BY_LAYER.add(unet)
    names = layers_of(unet)
    for number, name in enumerate(names):
        layer: Any = unet.get_submodule(name)
        width: int = layer.to_k.in_features
        layer.register_forward_pre_hook(partial(_select_layer, number * width, width, len(names)), with_kwargs=True)


def side_by_side(features: Tensor, num_slots: int) -> Tensor:
    """[B, ..., S * D] of features [S * B, ..., D], which hold the same captions in one slot after the other."""
    return features.unflatten(0, (num_slots, -1)).movedim(0, -2).flatten(-2)


def _select_layer(
    first: int, width: int, num_layers: int, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    hidden = named["encoder_hidden_states"]
    if hidden.shape[-1] == num_layers * width:
        named = {**named, "encoder_hidden_states": hidden[..., first : first + width]}
    return positional, named


def _at_stage(features: Any, stage_B: Tensor, stages: int) -> Any:
    """[B, ..., D] of the features [B, ..., stages * D] of all stages side by side.

    Z-Image has B lists of features [L, D], one for each stage, instead.
    """
    if isinstance(features, list):
        return [of_stages[stage] for of_stages, stage in zip(features, stage_B.tolist(), strict=True)]
    by_stage = features.unflatten(-1, (stages, -1)).movedim(-2, 1)
    return by_stage[torch.arange(len(features)), stage_B.cpu()]


def _encode(
    model: LatentDiffusion,
    captions: Sequence[str],
    vectors: Vectors,
    slots: Sequence[Sequence[ConditioningSlot]],
    *,
    is_negative: bool,
) -> Conditioning:
    """The conditioning of B captions in S slots each, side by side."""
    if not has_parts(vectors):
        return model.encode_text(captions, vectors, is_negative=is_negative)
    if any(is_of_layers(parts(by_name)) for by_name in vectors.values()):
        route_by_layer(model.unet)
    texts, tokens = expand_parts(
        vectors, [*captions] * len(slots), [slot for of_captions in slots for slot in of_captions]
    )
    conditioning = model.encode_text(texts, tokens, is_negative=is_negative)
    pooled, mask = (
        None if features is None else side_by_side(features, len(slots))
        for features in (conditioning.pooled, conditioning.mask)
    )
    return Conditioning(side_by_side(conditioning.hidden, len(slots)), pooled, mask)
