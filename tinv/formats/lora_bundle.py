"""Embeddings inside a LoRA file: OneTrainer's `bundle_emb.<token>.<key>`, or ai-toolkit's tensors among the LoRA's."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from tinv.errors import UserError
from tinv.formats import emb_params, encoder_keys
from tinv.formats.content import MAX_TENSORS, Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.not_embeddings import is_lora
from tinv.formats.placeholder import check_token
from tinv.formats.tensors import read_vectors, split_by_encoder

NAME = "bundled in a LoRA"
_BUNDLE = "bundle_emb."
_ONE_ENCODER = "string_to_param.*"
_UNPREFIXED = {"emb_params", "clip_l", "clip_g"}


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embeddings in a LoRA file; the LoRA itself is ignored."""
    bundled = [name for name in content.names if name.startswith(_BUNDLE)]
    if len(bundled) > MAX_TENSORS:
        raise UserError(f"{content.path} bundles {len(bundled)} tensors of embeddings; tinv reads up to {MAX_TENSORS}")
    by_token: dict[str, dict[str, Tensor]] = {}
    for name in bundled:
        token, _, key = name.removeprefix(_BUNDLE).partition(".")
        by_token.setdefault(token, {})[key] = content.root[name]
    if by_token:
        return [each for token, tensors in by_token.items() for each in _read_token(content, token, tensors)]
    names = _UNPREFIXED.intersection(content.names)
    if names and is_lora(content.names):
        return _read_tensors(content, {name: content.root[name] for name in names})
    return None


def _read_token(content: Content, token: str, tensors: Mapping[str, Tensor]) -> list[LearnedEmbedding]:
    if _ONE_ENCODER in tensors:
        vectors = split_by_encoder(read_vectors(content.path, token, tensors[_ONE_ENCODER]))
        return [LearnedEmbedding(check_token(content.path, token), vectors, has_guessed_encoders=True)]
    embeddings = _read_tensors(content, tensors)
    return [replace(each, placeholder_token=check_token(content.path, token), provenance={}) for each in embeddings]


def _read_tensors(content: Content, tensors: Mapping[str, Tensor]) -> list[LearnedEmbedding]:
    selected = Content(content.path, content.container, tensors)
    return emb_params.read(selected) or encoder_keys.read(selected) or []
