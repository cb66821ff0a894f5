"""Learned embeddings in diffusers pipelines, including tokens with parts, which diffusers' own loader cannot load.

    pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
    tinv.inference.load_pipeline.load(pipe, "learned_embeds.safetensors")
    pipe("a photo of <cat-toy> on the beach").images[0]

B batch, L tokens, S conditioning slots, K vectors, V vocabulary size, D width.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.negative import split_negative
from tinv.formats.unusual_vectors import find_unusual_vectors
from tinv.models import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from tinv.models.conditioning import add_timestep_routing, layers_of, route_by_layer, side_by_side
from tinv.token_parts import (
    ConditioningSlot,
    SlotLayout,
    describe_parts,
    encoder_of,
    is_of_layers,
    join_key,
    part_at,
    parts,
)

_ENCODERS_WITH_PARTS: WeakSet[nn.Module] = WeakSet()
"""Text encoders for which tokens with parts were loaded."""


def load(pipe: Any, *files: Path | str, token: str | None = None) -> list[str]:
    """Load embedding files of tinv or any other program into a pipeline, and return the tokens to write into prompts.

    For a token with parts, every prompt is encoded once for each stage of the noise schedule or each layer of the
    U-Net, and the U-Net uses the features of the current timestep or layer. Schedulers, guidance, seeds and sizes stay
    those of the pipeline. The negative of a token, such as `<cat-toy-neg>`, is for negative prompts.

    Args:
        pipe: a StableDiffusionPipeline, or another with the same text encoder and U-Net; for ordinary tokens also one
            of SDXL.
        files: embedding files, or run folders.
        token: the token's new name; None is the name in its file.

    Raises:
        UserError: a file is no embedding or does not fit the pipeline, or the pipeline already has tokens with parts.
    """
    learned = [each for file in files for word in formats.read_all(file, token=token) for each in split_negative(word)]
    encoders = _encoders(pipe)
    for embedding in learned:
        _check_widths(embedding, encoders)
    if with_parts := [embedding for embedding in learned if parts(embedding.vectors)]:
        _check_pipeline(pipe, with_parts)
    for embedding in learned:
        _load_tokens(pipe, encoders, embedding)
    if with_parts:
        layout = SlotLayout.of(embedding.vectors for embedding in learned)
        ((tokenizer, encoder),) = encoders.values()
        _encode_in_all_slots(encoder, [_ids_in_slot(tokenizer, learned, slot) for slot in layout.slots()])
        if layout.stages > 1:
            add_timestep_routing(pipe.unet, layout.stages, 0, pipe.scheduler.config.num_train_timesteps)
        if layout.layers:
            route_by_layer(pipe.unet)
    return [embedding.placeholder_token for embedding in learned]


def _encoders(pipe: Any) -> dict[str, tuple[Any, nn.Module]]:
    """The tokenizer and the text encoder of each role."""
    has_second = getattr(pipe, "text_encoder_2", None) is not None
    family = STABLE_DIFFUSION_XL if has_second else STABLE_DIFFUSION
    encoders = [getattr(pipe, name) for name in family.text_encoders]
    tokenizers = [getattr(pipe, name) for name in family.tokenizers]
    roles = family.encoder_roles([_width(encoder) for encoder in encoders])
    return dict(zip(roles, zip(tokenizers, encoders, strict=True), strict=True))


def _width(encoder: Any) -> int:
    return encoder.get_input_embeddings().weight.shape[1]


def _check_widths(embedding: LearnedEmbedding, encoders: Mapping[str, tuple[Any, nn.Module]]) -> None:
    expected = {role: _width(encoder) for role, (_, encoder) in encoders.items()}
    widths = {encoder_of(name): vectors_KD.shape[1] for name, vectors_KD in embedding.vectors.items()}
    if widths != expected:
        raise UserError(
            f"{embedding.placeholder_token} has vectors of width {widths}, but the pipeline needs {expected}. It was "
            f"learned on another kind of model."
        )
    if problem := find_unusual_vectors(embedding.vectors):
        warnings.warn(f"{embedding.placeholder_token}: {problem}; images will not show what was learned", stacklevel=3)


def _check_pipeline(pipe: Any, with_parts: Sequence[LearnedEmbedding]) -> None:
    first = with_parts[0]
    description = f"{first.placeholder_token}, which has vectors for {describe_parts(parts(first.vectors))}"
    if getattr(pipe, "text_encoder_2", None) is not None:
        raise UserError(f"An SDXL pipeline cannot load {description}. Generate images with `tinv generate`.")
    layers = {names for embedding in with_parts if is_of_layers(names := parts(embedding.vectors))}
    if layers - {layers_of(pipe.unet)}:
        raise UserError(f"The pipeline's U-Net has other layers than the model of {description}.")
    if pipe.text_encoder in _ENCODERS_WITH_PARTS:
        raise UserError(
            f"The pipeline already has tokens with parts, so it cannot load {description}. Give all files to one call."
        )
    _ENCODERS_WITH_PARTS.add(pipe.text_encoder)


def _load_tokens(pipe: Any, encoders: Mapping[str, tuple[Any, nn.Module]], embedding: LearnedEmbedding) -> None:
    """Add the vectors of each part to the vocabulary."""
    names = parts(embedding.vectors) or ("",)
    for role, (tokenizer, encoder) in encoders.items():
        vectors = [embedding.vectors[join_key(role, part)] for part in names]
        tokens = [_token(embedding, part) for part in names]
        pipe.load_textual_inversion(vectors, token=tokens, tokenizer=tokenizer, text_encoder=encoder)


def _token(embedding: LearnedEmbedding, part: str) -> str:
    """The token of a part: the placeholder itself for the first part."""
    names = parts(embedding.vectors)
    return embedding.placeholder_token if not names or part == names[0] else f"{embedding.placeholder_token}/{part}"


def _ids_in_slot(tokenizer: Any, learned: Sequence[LearnedEmbedding], slot: ConditioningSlot) -> Tensor:
    """[V]: the id that replaces each id in a conditioning slot."""
    ids = torch.arange(len(tokenizer))
    for embedding in learned:
        vectors_KD = next(iter(embedding.vectors.values()))
        placeholder, replacement = (
            tokenizer.convert_tokens_to_ids([token, *(f"{token}_{i}" for i in range(1, len(vectors_KD)))])
            for token in (embedding.placeholder_token, _token(embedding, part_at(embedding.vectors, slot)))
        )
        ids[torch.tensor(placeholder)] = torch.tensor(replacement)
    return ids


def _encode_in_all_slots(encoder: nn.Module, ids_in_slots: Sequence[Tensor]) -> None:
    """Make a text encoder return the features of all slots side by side, [B, L, S * D]."""
    num_slots = len(ids_in_slots)

    def repeat(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        arguments = {**dict(zip(("input_ids", "attention_mask"), positional)), **named}
        ids_BL = arguments["input_ids"]
        arguments["input_ids"] = torch.cat([ids.to(ids_BL.device)[ids_BL] for ids in ids_in_slots])
        if arguments.get("attention_mask") is not None:
            arguments["attention_mask"] = torch.cat([arguments["attention_mask"]] * num_slots)
        return (), arguments

    def join(_: nn.Module, positional: Any, output: Any) -> Any:
        return type(output)(**{name: _join_slots(value, num_slots) for name, value in output.items()})

    encoder.register_forward_pre_hook(repeat, with_kwargs=True)
    encoder.register_forward_hook(join)


def _join_slots(value: Any, num_slots: int) -> Any:
    if isinstance(value, tuple | list):
        return tuple(side_by_side(features, num_slots) for features in value)
    return side_by_side(value, num_slots)
