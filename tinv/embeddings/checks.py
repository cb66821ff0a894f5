"""Checks whether a concept can be learned, with the tokenizer alone, before any weights load."""

import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tinv.concept import Concept, whole_word_regex
from tinv.errors import UserError
from tinv.formats.writable_token import check_writable_token

INITS_FROM_TOKEN = ("word", "phrase", "mean", "cross")
"""The values of `embedding.init` that need `concept.initializer_token`."""


def check_placeholder(concept: Concept, tokenizer: Any) -> None:
    """Checks that the placeholder token has no meaning yet, neither in prompts nor in embedding files.

    Raises:
        UserError: it is a word, or a part of words, of the vocabulary, or files cannot hold it.
    """
    token = concept.placeholder_token
    check_writable_token(token, "concept.placeholder_token")
    vocabulary = tokenizer.get_vocab()
    suggestion = f"<{concept.slug}>" if not token.startswith("<") else f"<my-{concept.slug}>"
    pieces = tokenize(token, tokenizer)
    is_word = {f"{token}</w>", f"▁{token}", f"Ġ{token}"} & vocabulary.keys()
    if is_word or token in tokenizer.all_special_tokens or pieces == [token]:
        raise UserError(
            f"concept.placeholder_token={token!r}: already a token of the tokenizer ({format_tokens(pieces)}), which "
            f"it would hide. Choose one without a meaning, such as {suggestion!r}."
        )
    if token in vocabulary:
        raise UserError(
            f"concept.placeholder_token={token!r}: a sub-word that the tokenizer builds other words from (alone it "
            f"is {format_tokens(pieces)}), so other programs could not load it. Choose another, such as {suggestion!r}."
        )


def check_caption_length(
    concept: Concept,
    tokenizer: Any,
    captions: Mapping[str, str],
    *,
    limit: int,
    num_vectors: int,
    extra_tokens: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Checks that no caption truncates the placeholder token; warns about captions that are truncated after it.

    Args:
        concept: gives the placeholder token.
        tokenizer: of a text encoder.
        captions: every possible caption, with the file that it comes from.
        limit: the tokens of a caption that the text encoder reads.
        num_vectors: of the placeholder token.
        extra_tokens: number of vectors of the run's other placeholder tokens, which captions may also contain.

    Raises:
        UserError: naming the caption with the least space, its file, and how many vectors would fit.
    """
    pattern = re.compile(whole_word_regex(concept.placeholder_token), re.IGNORECASE)
    truncated, worst, most = [], "", limit - num_vectors
    for caption in captions:
        pieces = pattern.split(caption)
        mentioned = {t: len(re.findall(whole_word_regex(t), caption, re.IGNORECASE)) for t in extra_tokens}
        at_most = len(caption.encode()) + num_vectors * len(pieces)  # a token has at least one byte
        if at_most + sum(extra_tokens[token] * count for token, count in mentioned.items()) <= limit:
            continue
        lengths = [_length(piece, tokenizer, extra_tokens) for piece in pieces]
        if lengths[0] > most:
            worst, most = caption, lengths[0]
        if sum(lengths) + num_vectors * (len(pieces) - 1) > limit:
            truncated.append(caption)
    if worst:
        remedy = f"Set it to {limit - most} or less" if most < limit else "Mention the token earlier"
        raise UserError(
            f"embedding.num_vectors={num_vectors}: does not fit into a prompt. The caption {worst!r} "
            f"({captions[worst]}) uses {most} of the text encoder's {limit} tokens before "
            f"{concept.placeholder_token}. {remedy}."
        )
    if truncated:
        warnings.warn(
            f"data.captions: {len(truncated)} of {len(captions)} captions are truncated to the text encoder's {limit} "
            f"tokens, such as {truncated[0]!r} ({captions[truncated[0]]}).",
            stacklevel=2,
        )


def check_single_token(word: str, tokenizer: Any) -> None:
    """Checks that a word of `embedding.init_words` is one token.

    Raises:
        UserError: it is not.
    """
    pieces = tokenize(word, tokenizer)
    if len(pieces) != 1:
        raise UserError(
            f"embedding.init_words: {word!r} is {len(pieces)} tokens ({format_tokens(pieces)}), but each word must be "
            f"one token. Remove or replace it."
        )


def initializer_ids(concept: Concept, tokenizer: Any, *, num_vectors: int, init: str) -> list[int]:
    """Returns the token ids of the initializer; none if `embedding.init` does not need it.

    Raises:
        UserError: it is empty, or has more tokens than `embedding.init` can use; the message shows the tokens.
    """
    if init not in INITS_FROM_TOKEN:
        return []
    text = (concept.initializer_token or "").strip()
    ids = _ids_after_a_word(text, tokenizer) if text else []
    if not ids:
        example = "toy" if concept.kind == "object" else "painting"
        raise UserError(
            f"concept.initializer_token={concept.initializer_token!r}: embedding.init={init} needs a word. Set one, "
            f"such as {example!r}, or embedding.init=random."
        )
    pieces = format_tokens(tokenizer.convert_ids_to_tokens(ids))
    if init == "word" and len(ids) > 1:
        raise UserError(
            f"concept.initializer_token={text!r}: {len(ids)} tokens ({pieces}), but embedding.init=word takes one. "
            f"Choose another word, or set embedding.init=mean (every vector starts from the tokens' mean), or "
            f"embedding.init=phrase with embedding.num_vectors={max(num_vectors, len(ids))} (one vector per token)."
        )
    if init in ("phrase", "cross") and len(ids) > num_vectors:
        raise UserError(
            f"concept.initializer_token={text!r}: {len(ids)} tokens ({pieces}), but embedding.num_vectors="
            f"{num_vectors}. Set embedding.num_vectors={len(ids)} or more, or embedding.init=mean."
        )
    return ids


def _length(text: str, tokenizer: Any, extra_tokens: Mapping[str, int]) -> int:
    """Returns the number of tokens of a text that may contain placeholder tokens."""
    if not extra_tokens:
        return len(tokenizer(text, add_special_tokens=False).input_ids)
    pieces = re.split(f"({'|'.join(map(whole_word_regex, extra_tokens))})", text, flags=re.IGNORECASE)
    return sum(extra_tokens.get(p.lower()) or _length(p, tokenizer, {}) for p in pieces)


def tokenize(text: str, tokenizer: Any) -> list[str]:
    """Returns the tokens of a text as the vocabulary spells them, with `</w>` at the end of a word."""
    return tokenizer.convert_ids_to_tokens(_ids_after_a_word(text, tokenizer))


def _ids_after_a_word(text: str, tokenizer: Any) -> list[int]:
    """Returns the ids of a text inside a caption: language models read `toy` and ` toy` as different tokens."""
    start, ids = (tokenizer(caption, add_special_tokens=False).input_ids for caption in ("a", f"a {text}"))
    return ids[len(start) :]


def format_tokens(pieces: list[str]) -> str:
    """Returns tokens for a message: `cat` `toy</w>`."""
    return " ".join(f"`{piece}`" for piece in pieces) or "nothing"
