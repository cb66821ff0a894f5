"""Learned embeddings in diffusers pipelines of all models, also those that diffusers' own loader does not know.

    pipe = Flux2KleinPipeline.from_pretrained("black-forest-labs/FLUX.2-klein-4B")
    tinv.load_embedding(pipe, "learned_embeds.safetensors")
    pipe("a photo of <cat-toy> on the beach").images[0]

B batch, L tokens, S conditioning slots, K vectors, V vocabulary size, D width.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.learned_embedding import widths
from tinv.formats.negative import split_negative
from tinv.formats.unusual_vectors import find_unusual_vectors
from tinv.inference.pipeline_encoders import (
    PipelineEncoder,
    add_tokens,
    add_vectors,
    find_encoders,
    pool_at_the_end,
)
from tinv.models.check_fit import match_encoders
from tinv.models.conditioning import add_timestep_routing, layers_of, route_by_layer, side_by_side
from tinv.token_parts import SlotLayout, describe_parts, is_of_layers, join_key, part_at, parts


@dataclass
class _Loaded:
    """The embeddings in a pipeline, and the functions that undo them."""

    embeddings: list[LearnedEmbedding] = field(default_factory=list)
    undo: list[Callable[[], object]] = field(default_factory=list)


_LOADED: WeakKeyDictionary[Any, _Loaded] = WeakKeyDictionary()


def load_embedding(pipeline: Any, *files: Path | str, token: str | None = None) -> list[str]:
    """Loads embedding files of tinv or any other program into a pipeline; returns the tokens to write into prompts.

    Prompts, lists of them and negative prompts can contain the tokens. A token with several vectors expands by itself.
    Text encoders without vectors of their own read a token as ordinary text, as in training. The weights of the
    pipeline do not change, and `save_pretrained` saves them without the embeddings.

    For a token with parts, every prompt is encoded once for each stage of the noise schedule or each layer of the
    U-Net, and the U-Net uses the features of the current timestep or layer. Schedulers, guidance, seeds and sizes stay
    those of the pipeline. The negative of a token, such as `<cat-toy-neg>`, is for negative prompts.

    Args:
        pipeline: a text-to-image pipeline of diffusers; for tokens with parts a StableDiffusionPipeline, or another
            with the same text encoder and U-Net.
        files: embedding files, or run folders.
        token: the token's new name; None is the name in its file.

    Raises:
        UserError: a file is no embedding or does not fit the pipeline, or the pipeline already has such a token.
    """
    learned = [each for file in files for word in formats.read_all(file, token=token) for each in split_negative(word)]
    encoders = find_encoders(pipeline)
    expected = {role: encoder.width for role, encoder in encoders.items()}
    learned = [_match(pipeline, embedding, expected) for embedding in learned]
    before = _LOADED[pipeline].embeddings if pipeline in _LOADED else []
    together = [*before, *learned]
    _check(pipeline, together)
    if not before:
        _warn_of_clean_caption(pipeline, learned)
    unload_embedding(pipeline)
    _LOADED[pipeline] = _Loaded(together, _add(pipeline, find_encoders(pipeline), together))
    return [embedding.placeholder_token for embedding in learned]


def unload_embedding(pipeline: Any) -> None:
    """Removes all embeddings that `load_embedding` loaded into a pipeline, which is then as it was before."""
    if loaded := _LOADED.pop(pipeline, None):
        for undo in reversed(loaded.undo):
            undo()


def _match(pipeline: Any, embedding: LearnedEmbedding, expected: Mapping[str, int]) -> LearnedEmbedding:
    """Returns the embedding with the roles of the pipeline's encoders."""
    is_same_model = embedding.provenance.get("base_model") == (getattr(pipeline, "name_or_path", None) or "")
    matched = match_encoders(embedding, expected, is_same_model=is_same_model)
    if matched is None:
        raise UserError(
            f"{embedding.placeholder_token} has vectors of width {widths(embedding)}, but the pipeline needs "
            f"{dict(expected)}. It was learned on another kind of model."
        )
    if problem := find_unusual_vectors(embedding.vectors):
        warnings.warn(f"{embedding.placeholder_token}: {problem}; images will not show what was learned", stacklevel=3)
    return matched


def _check(pipeline: Any, learned: Sequence[LearnedEmbedding]) -> None:
    tokens = [embedding.placeholder_token.lower() for embedding in learned]
    if repeated := [token for number, token in enumerate(tokens) if token in tokens[:number]]:
        raise UserError(
            f"{repeated[0]}: the pipeline has this token already. Rename it with token=, or call unload_embedding."
        )
    with_parts = [embedding for embedding in learned if parts(embedding.vectors)]
    if not with_parts:
        return
    first = with_parts[0]
    description = f"{first.placeholder_token}, which has vectors for {describe_parts(parts(first.vectors))}"
    if getattr(pipeline, "unet", None) is None or getattr(pipeline, "text_encoder_2", None) is not None:
        raise UserError(f"A {type(pipeline).__name__} cannot load {description}. Generate images with `tinv generate`.")
    layers = {names for embedding in with_parts if is_of_layers(names := parts(embedding.vectors))}
    if layers - {layers_of(pipeline.unet)}:
        raise UserError(f"The pipeline's U-Net has other layers than the model of {description}.")


def _warn_of_clean_caption(pipeline: Any, learned: Sequence[LearnedEmbedding]) -> None:
    option = signature(type(pipeline).__call__).parameters.get("clean_caption")
    tags = [embedding.placeholder_token for embedding in learned if embedding.placeholder_token.startswith("<")]
    if option and option.default and tags:
        warnings.warn(
            f"call this {type(pipeline).__name__} with clean_caption=False: otherwise it removes {tags[0]} as an HTML "
            f"tag",
            stacklevel=3,
        )


def _add(
    pipeline: Any, encoders: Mapping[str, PipelineEncoder], learned: Sequence[LearnedEmbedding]
) -> list[Callable[[], object]]:
    """Adds embeddings to a pipeline that has none; returns the functions that undo it."""
    undo: list[Callable[[], object]] = []
    layout = SlotLayout.of(embedding.vectors for embedding in learned)
    for role, encoder in encoders.items():
        vectors: list[Tensor] = []
        numbers: dict[tuple[str, str], list[int]] = {}
        for embedding in learned:
            for part in parts(embedding.vectors) or ("",):
                vectors_KD = embedding.vectors.get(join_key(role, part))
                if vectors_KD is not None:
                    start = sum(map(len, vectors))
                    numbers[embedding.placeholder_token, part] = [*range(start, start + len(vectors_KD))]
                    vectors.append(vectors_KD)
        if not vectors:
            continue
        expansions: dict[str, list[int]] = {}
        for (placeholder, _), numbers_K in numbers.items():
            expansions.setdefault(placeholder, numbers_K)  # the first part stands for all until the slots differ
        component, first_id = getattr(pipeline, encoder.tokenizer_name), len(encoder.tokenizer)
        add_tokens(pipeline, encoder, sum(map(len, vectors)), expansions)
        undo.append(partial(pipeline.register_modules, **{encoder.tokenizer_name: component}))
        undo += [pool_at_the_end(encoder), *(each.remove for each in add_vectors(encoder, torch.cat(vectors)))]
        if (slots := layout.slots()) != SlotLayout().slots():
            ids_in_slots = []
            for slot in slots:
                ids = torch.arange(first_id + sum(map(len, vectors)))
                for embedding in learned:
                    placeholder = embedding.placeholder_token
                    replacement = numbers[placeholder, part_at(embedding.vectors, slot)]
                    ids[torch.tensor(expansions[placeholder]) + first_id] = torch.tensor(replacement) + first_id
                ids_in_slots.append(ids)
            undo += _encode_in_all_slots(encoder.encoder, ids_in_slots)
    if layout.stages > 1:
        timesteps = pipeline.scheduler.config.num_train_timesteps
        undo.append(add_timestep_routing(pipeline.unet, layout.stages, 0, timesteps).remove)
    if layout.layers:
        route_by_layer(pipeline.unet)
    return undo


def _encode_in_all_slots(encoder: nn.Module, ids_in_slots: Sequence[Tensor]) -> list[Callable[[], object]]:
    """Makes a text encoder return the features of all slots side by side, [B, L, S * D]; returns how to undo it.

    `ids_in_slots` has [V] for each slot: the id that replaces each id.
    """
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

    first = encoder.register_forward_pre_hook(repeat, with_kwargs=True)
    return [first.remove, encoder.register_forward_hook(join).remove]


def _join_slots(value: Any, num_slots: int) -> Any:
    if isinstance(value, tuple | list):
        return tuple(side_by_side(features, num_slots) for features in value)
    return side_by_side(value, num_slots)
