"""The text encoders of any diffusers pipeline, and learned tokens in them.

B batch, L tokens, K vectors, D width.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Regex, normalizers
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tinv.concept import whole_word_regex
from tinv.errors import UserError
from tinv.formats import encoder_of_width

_ROLES = {"gemma2": "gemma", "mistral": "mistral3", "qwen2_5_vl_text": "qwen2_5_vl", "qwen3_vl_text": "qwen3_vl"}
"""Our name of a text encoder by the `model_type` of its configuration, where they differ."""
_FIRST_CHARACTER = 0xF0000
"""Characters for private use, which nobody types and no tokenizer changes, are the names of added tokens."""


@dataclass(frozen=True)
class PipelineEncoder:
    """A text encoder of a pipeline and the tokenizer of its prompts."""

    role: str
    tokenizer_name: str
    """The component of the pipeline: a tokenizer, or a processor that has one."""
    tokenizer: Any
    encoder: Any

    @property
    def table(self) -> Any:
        """The token embedding."""
        return self.encoder.get_input_embeddings()

    @property
    def width(self) -> int:
        """Of the token embedding."""
        return int(self.table.embedding_dim)


def find_encoders(pipeline: Any) -> dict[str, PipelineEncoder]:
    """Returns the text encoders that a pipeline has, by role, in the order of its components.

    Raises:
        UserError: it has none, or one with a tokenizer of another kind.
    """
    names = [name for name in pipeline.components if re.fullmatch(r"text_encoder(_\d)?", name)]
    pairs = {name: name.replace("text_encoder", "tokenizer") for name in sorted(names)}
    components = {
        name: (getattr(pipeline, name), tokenizer_name)
        for name, tokenizer_name in pairs.items()
        if getattr(pipeline, name) is not None and getattr(pipeline, tokenizer_name, None) is not None
    }
    types = {name: encoder.config.model_type for name, (encoder, _) in components.items()}
    clips = [name for name, kind in types.items() if kind.startswith("clip")]
    encoders: dict[str, PipelineEncoder] = {}
    for name, (encoder, tokenizer_name) in components.items():
        component = getattr(pipeline, tokenizer_name)
        tokenizer = getattr(component, "tokenizer", component)
        if name in clips:
            width = encoder.get_input_embeddings().embedding_dim
            role = ("clip_l", "clip_g")[clips.index(name)] if len(clips) > 1 else encoder_of_width(width)
        else:
            role = _ROLES.get(types[name], types[name])
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise UserError(f"The {tokenizer_name} of this {type(pipeline).__name__} is no fast tokenizer.")
        encoders[role] = PipelineEncoder(role, tokenizer_name, tokenizer, encoder)
    if not encoders:
        raise UserError(f"This {type(pipeline).__name__} has no text encoder that embeddings can be loaded into.")
    return encoders


def add_tokens(
    pipeline: Any, encoder: PipelineEncoder, num_tokens: int, expansions: Mapping[str, Sequence[int]]
) -> None:
    """Gives the pipeline a copy of a tokenizer with tokens behind its vocabulary, and placeholders that become some.

    The normalizer of the tokenizer replaces a placeholder in any text, so every call of it does: prompts in lists,
    negative prompts, chat templates.

    Args:
        pipeline: its component is replaced.
        encoder: whose tokenizer is copied.
        num_tokens: how many tokens are added.
        expansions: the numbers of the added tokens that replace each placeholder.
    """
    component = deepcopy(getattr(pipeline, encoder.tokenizer_name))
    tokenizer = getattr(component, "tokenizer", component)
    names = [chr(_FIRST_CHARACTER + number) for number in range(num_tokens)]
    tokenizer.add_tokens(names)
    assert tokenizer.convert_tokens_to_ids(names[-1]) == len(encoder.tokenizer) + num_tokens - 1
    steps = [
        normalizers.Replace(Regex(f"(?i){whole_word_regex(placeholder)}"), " ".join(names[n] for n in numbers))
        for placeholder, numbers in sorted(expansions.items(), key=lambda item: -len(item[0]))
    ]
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    pipeline.register_modules(**{encoder.tokenizer_name: component})


def add_vectors(encoder: PipelineEncoder, vectors_KD: Tensor) -> list[RemovableHandle]:
    """Makes a token embedding return the vectors for the ids behind the tokenizer's vocabulary.

    Its table does not change, nor does an output layer that shares it. The table may have unused rows for these ids.

    Returns:
        The handles whose removal undoes it.
    """
    first_id, ids = len(encoder.tokenizer), {}
    tables = [part for part in encoder.encoder.modules() if getattr(part, "weight", None) is encoder.table.weight]

    def before(table: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        ids[table] = arguments[0]
        return arguments[0].clamp(max=first_id - 1), *arguments[1:]

    def after(table: nn.Module, _: Any, output: Tensor) -> Tensor:
        ids_BL = ids.pop(table).to(output.device)
        learned = F.embedding((ids_BL - first_id).clamp(min=0), vectors_KD.to(output.device)).to(output.dtype)
        if (scale := getattr(table, "embed_scale", None)) is not None:  # Gemma's
            learned = learned * torch.as_tensor(scale).to(output)
        return torch.where((ids_BL >= first_id).unsqueeze(-1), learned, output)

    embeddings = [table for table in tables if isinstance(table, nn.Embedding)]
    handles = [table.register_forward_pre_hook(before) for table in embeddings]
    handles += [table.register_forward_hook(after) for table in embeddings]
    return handles


def pool_at_the_end(encoder: PipelineEncoder) -> Callable[[], None]:
    """Makes a CLIP take its pooled vector at the end of the text, as it does in training.

    Published configurations say `eos_token_id: 2`, with which transformers takes it at the largest id: a learned token.

    Returns:
        The function that undoes it.
    """
    parts = [part for part in encoder.encoder.modules() if hasattr(part, "eos_token_id")]
    before = [part.eos_token_id for part in parts]

    def set_ids(ids: Sequence[Any]) -> None:
        for part, id in zip(parts, ids, strict=True):
            part.eos_token_id = id

    set_ids([encoder.tokenizer.eos_token_id] * len(parts))
    return lambda: set_ids(before)
