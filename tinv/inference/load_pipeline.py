"""Learned words in pipelines of diffusers', also those that have parts, which diffusers' own loader cannot take.

    pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")
    tinv.inference.load_pipeline.load(pipe, "learned_embeds.safetensors")
    pipe("a photo of <cat-toy> on the beach").images[0]

B batch, L tokens, P places, K rows, V words, D width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from tinv import formats
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.negative import halves
from tinv.models.conditioning import layers_of, route_by_layer, route_by_timestep_hook, side_by_side
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

_TAUGHT: WeakSet[nn.Module] = WeakSet()
"""Text encoders that read words with parts."""


def load(pipe: Any, *files: Path | str, token: str | None = None) -> list[str]:
    """Teach a pipeline the words of embedding files, of tinv's or any other program's.

    Where a word has parts, prompts are encoded once for each stage of the noise schedule or each layer of the U-Net,
    whether they say it or not, and the U-Net takes at each timestep, or in each layer, its own. Schedulers, guidance,
    seeds and sizes are those of the pipeline, as ever.

    Args:
        pipe: a StableDiffusionPipeline, or another with the same text encoder and U-Net; with ordinary words also one
            of SDXL's.
        files: embedding files, or the folders of runs.
        token: what the word is to be called; None is what its file says.

    Returns:
        The words, to be written into prompts. The negative of a word, as `<cat-toy-neg>`, is for negative prompts.

    Raises:
        UserError: a file is no embedding, it does not fit the pipeline, or the pipeline has words with parts already.
    """
    learned = [each for file in files for word in formats.read_all(file, token=token) for each in halves(word)]
    encoders = _encoders(pipe)
    for word in learned:
        _check(word, encoders)
    if not any(parts(word.vectors) for word in learned):
        for word in learned:
            _teach(pipe, encoders, word, ("",))
        return [word.placeholder_token for word in learned]
    _check_pipeline(pipe, learned)
    spread = SlotLayout.over(word.vectors for word in learned)
    for word in learned:
        _teach(pipe, encoders, word, parts(word.vectors) or ("",))
    ((tokenizer, encoder),) = encoders.values()
    _read_in_all_places(encoder, [_lookup(tokenizer, learned, place) for place in spread.places()])
    if spread.stages > 1:
        route_by_timestep_hook(pipe.unet, spread.stages, pipe.scheduler.config.num_train_timesteps)
    if spread.layers:
        route_by_layer(pipe.unet)
    return [word.placeholder_token for word in learned]


def _encoders(pipe: Any) -> dict[str, tuple[Any, nn.Module]]:
    """The tokenizer and the text encoder of each kind of vectors."""
    pairs = [(pipe.tokenizer, pipe.text_encoder)]
    if getattr(pipe, "text_encoder_2", None) is not None:
        pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
    names = ["clip_l", "clip_g"] if len(pairs) > 1 else [formats.encoder_of_width(_width(pipe.text_encoder))]
    return dict(zip(names, pairs, strict=True))


def _width(encoder: Any) -> int:
    return encoder.get_input_embeddings().weight.shape[1]


def _check(word: LearnedEmbedding, encoders: Mapping[str, tuple[Any, nn.Module]]) -> None:
    wanted = {name: _width(encoder) for name, (_, encoder) in encoders.items()}
    widths = {encoder_of(name): rows.shape[1] for name, rows in word.vectors.items()}
    if widths != wanted:
        raise UserError(
            f"{word.placeholder_token} has vectors of width {widths}, the pipeline takes {wanted}; it was learned on another "
            f"kind of model"
        )


def _check_pipeline(pipe: Any, learned: Sequence[LearnedEmbedding]) -> None:
    word = next(word for word in learned if parts(word.vectors))
    what = f"{word.placeholder_token}, which has rows of its own for {describe_parts(parts(word.vectors))}"
    if getattr(pipe, "text_encoder_2", None) is not None:
        raise UserError(f"a pipeline of SDXL cannot be taught {what}; `tinv generate` draws with it")
    layers = {parts(word.vectors) for word in learned if is_of_layers(parts(word.vectors))}
    if layers - {layers_of(pipe.unet)}:
        raise UserError(f"the pipeline's U-Net has other layers than the model of {what}")
    if pipe.text_encoder in _TAUGHT:
        raise UserError(f"the pipeline has words with parts already, before {what}; give all files to one call of load")
    _TAUGHT.add(pipe.text_encoder)


def _teach(
    pipe: Any, encoders: Mapping[str, tuple[Any, nn.Module]], word: LearnedEmbedding, known: Sequence[str]
) -> None:
    """Put the rows of each part into the vocabulary: those of the first as the word, the others by names of theirs."""
    for encoder, (tokenizer, module) in encoders.items():
        rows = [word.vectors[join_key(encoder, part)] for part in known]
        names = [_token(word, part) for part in known]
        pipe.load_textual_inversion(rows, token=names, tokenizer=tokenizer, text_encoder=module)


def _token(word: LearnedEmbedding, part: str) -> str:
    known = parts(word.vectors)
    return word.placeholder_token if not known or part == known[0] else f"{word.placeholder_token}/{part}"


def _lookup(tokenizer: Any, learned: Sequence[LearnedEmbedding], place: ConditioningSlot) -> Tensor:
    """[V]: by the ids of all words those that are meant in a place."""
    ids = torch.arange(len(tokenizer))
    for word in learned:
        rows_KD = next(iter(word.vectors.values()))
        first, here = (
            tokenizer.convert_tokens_to_ids([token, *(f"{token}_{i}" for i in range(1, len(rows_KD)))])
            for token in (word.placeholder_token, _token(word, part_at(word.vectors, place)))
        )
        ids[torch.tensor(first)] = torch.tensor(here)
    return ids


def _read_in_all_places(encoder: nn.Module, lookups: Sequence[Tensor]) -> None:
    """Have a text encoder give the features of all places side by side, [B, L, P * D]."""

    def spread_out(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        given = {**dict(zip(("input_ids", "attention_mask"), positional)), **named}
        ids_BL = given["input_ids"]
        given["input_ids"] = torch.cat([lookup.to(ids_BL.device)[ids_BL] for lookup in lookups])
        if given.get("attention_mask") is not None:
            given["attention_mask"] = torch.cat([given["attention_mask"]] * len(lookups))
        return (), given

    def fold(_: nn.Module, positional: Any, output: Any) -> Any:
        return type(output)(**{name: _folded(value, len(lookups)) for name, value in output.items()})

    encoder.register_forward_pre_hook(spread_out, with_kwargs=True)
    encoder.register_forward_hook(fold)


def _folded(value: Any, places: int) -> Any:
    if isinstance(value, tuple | list):
        return tuple(side_by_side(features, places) for features in value)
    return side_by_side(value, places)
