"""Can this word be learned, and can it start there? Asked of the tokenizer, before any weight is loaded."""

import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tinv.concept import Concept, whole_word_regex
from tinv.errors import UserError

END_OF_WORD = "</w>"


def check_placeholder(concept: Concept, tokenizer: Any) -> None:
    """Refuse a placeholder that already means something.

    Raises:
        UserError: the placeholder is a word or a part of words of the vocabulary.
    """
    word = concept.placeholder_token
    vocabulary = tokenizer.get_vocab()
    suggestion = f"<{concept.slug}>" if not word.startswith("<") else f"<my-{concept.slug}>"
    pieces = split_into_pieces(word, tokenizer)
    if f"{word}{END_OF_WORD}" in vocabulary or word in tokenizer.all_special_tokens or pieces == [word]:
        raise UserError(
            f"concept.placeholder_token {word!r} is already a word of the tokenizer ({format_pieces(pieces)}), and learning it would "
            f"hide that word; choose one that means nothing yet, such as {suggestion!r}"
        )
    if word in vocabulary:
        raise UserError(
            f"concept.placeholder_token {word!r} is a sub-word that the tokenizer builds other words from (alone it reads "
            f"{format_pieces(pieces)}), so other programs could not load it; choose another, such as {suggestion!r}"
        )


def check_caption_length(
    concept: Concept,
    tokenizer: Any,
    captions: Mapping[str, str],
    *,
    num_vectors: int,
    others: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Refuse captions in which the word would be cut off, and tell of those that lose something behind it.

    Args:
        concept: gives the word.
        tokenizer: knows how much the text encoder reads.
        captions: all that may be shown, each with the place where it is written.
        num_vectors: how many tokens the word takes.
        others: how many each of the run's other words takes, which captions may say, too.

    Raises:
        UserError: naming the caption with the least room, where it is written and how many vectors would fit.
    """
    room = tokenizer.model_max_length - 2
    word = re.compile(whole_word_regex(concept.placeholder_token), re.IGNORECASE)
    long, worst, most = [], "", room - num_vectors
    for caption in captions:
        around = word.split(caption)
        said = {other: len(re.findall(whole_word_regex(other), caption, re.IGNORECASE)) for other in others}
        if len(caption.encode()) + num_vectors * len(around) + sum(others[o] * n for o, n in said.items()) <= room:
            continue  # a token is a byte at least
        taken = [_length(piece, tokenizer, others) for piece in around]
        if taken[0] > most:
            worst, most = caption, taken[0]
        if sum(taken) + num_vectors * (len(around) - 1) > room:
            long.append(caption)
    if worst:
        remedy = f"set it to {room - most} or less" if most < room else "say the word earlier in it"
        raise UserError(
            f"embedding.num_vectors={num_vectors} does not fit into a prompt: the caption {worst!r} takes {most} of "
            f"the text encoder's {room} tokens for the words before {concept.placeholder_token} "
            f"({captions[worst]}); {remedy}"
        )
    if long:
        warnings.warn(
            f"data.captions: the text encoder reads {room} tokens, and what is beyond is cut off; "
            f"{len(long)} of {len(captions)} captions are longer, such as {long[0]!r} ({captions[long[0]]})",
            stacklevel=2,
        )


def check_single_token(word: str, tokenizer: Any) -> None:
    """Refuse a word that is more than one token.

    Raises:
        UserError: it is.
    """
    pieces = split_into_pieces(word, tokenizer)
    if len(pieces) != 1:
        raise UserError(
            f"embedding.init_words has {word!r}, which is {len(pieces)} tokens ({format_pieces(pieces)}); rows can start from "
            f"words of one token only, leave it out or choose another"
        )


def initializer_ids(concept: Concept, tokenizer: Any, *, num_vectors: int, init: str) -> list[int]:
    """The ids of the initializer's tokens, if `embedding.init` can start `num_vectors` rows from them.

    Raises:
        UserError: it is empty, or has more tokens than `init` can use; the message shows them and the choices.
    """
    text = (concept.initializer_token or "").strip()
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids if text else []
    if not ids:
        raise UserError(
            f"concept.initializer_token must be a word for embedding.init={init}, got {concept.initializer_token!r}; give one, "
            f"such as {'toy' if concept.kind == 'object' else 'painting'!r}, or set embedding.init=random"
        )
    pieces = format_pieces(tokenizer.convert_ids_to_tokens(ids))
    if init == "word" and len(ids) > 1:
        raise UserError(
            f"concept.initializer_token {text!r} is {len(ids)} tokens ({pieces}), embedding.init=word takes one; "
            f"choose another word, or embedding.init=mean (all rows start from their mean), or embedding.init=phrase "
            f"with embedding.num_vectors={max(num_vectors, len(ids))} (one row a token)"
        )
    if init in ("phrase", "cross") and len(ids) > num_vectors:
        raise UserError(
            f"concept.initializer_token {text!r} is {len(ids)} tokens ({pieces}), but embedding.num_vectors={num_vectors}; "
            f"set embedding.num_vectors={len(ids)} or more, or embedding.init=mean"
        )
    return ids


def _length(text: str, tokenizer: Any, words: Mapping[str, int]) -> int:
    """How many tokens a text takes in which learned words may stand."""
    if not words:
        return len(tokenizer(text, add_special_tokens=False).input_ids)
    pieces = re.split(f"({'|'.join(map(whole_word_regex, words))})", text, flags=re.IGNORECASE)
    return sum(words[piece.lower()] if piece.lower() in words else _length(piece, tokenizer, {}) for piece in pieces)


def split_into_pieces(text: str, tokenizer: Any) -> list[str]:
    """The tokens of a text as the vocabulary spells them, `</w>` at the end of a word."""
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids)


def format_pieces(pieces: list[str]) -> str:
    """Tokens for a message: `cat` `toy</w>`."""
    return " ".join(f"`{piece}`" for piece in pieces) or "nothing"
