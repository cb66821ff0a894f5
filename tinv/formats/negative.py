"""The negative of a token: an ordinary embedding for negative prompts, in its own file beside the token's.

The token's name and file name get the suffix `-neg`, as in DreamArtist's web UI: `<cat-toy-neg>` or `my-mug-neg`, in
`learned_embeds-neg.safetensors`.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.content import sanitize
from tinv.formats.learned_embedding import LearnedEmbedding, insert_suffix
from tinv.formats.metadata import NEGATIVE_KEY, NEGATIVE_OF_KEY
from tinv.token_parts import NEGATIVE, has_negative, join_key, select_part

_SUFFIX = "-neg"
_TOKEN = re.compile(r"(.*\w|)(\W*)", re.DOTALL)


def split_negative(embedding: LearnedEmbedding) -> list[LearnedEmbedding]:
    """Returns an embedding and its negative as two that name each other; an embedding without a negative unchanged."""
    if not has_negative(embedding.vectors):
        return [embedding]
    token = embedding.placeholder_token
    negative, provenance = negative_token(token), embedding.provenance
    return [
        replace(
            embedding, vectors=select_part(embedding.vectors, ""), provenance={**provenance, NEGATIVE_KEY: negative}
        ),
        replace(
            embedding,
            placeholder_token=negative,
            vectors=select_part(embedding.vectors, NEGATIVE),
            provenance={**provenance, NEGATIVE_OF_KEY: token},
        ),
    ]


def join_negative(
    path: Path, embedding: LearnedEmbedding, read: Callable[[Path], list[LearnedEmbedding]]
) -> LearnedEmbedding:
    """Returns the embedding of a file with its negative, if it names one whose file exists.

    Args:
        path: the embedding's file.
        embedding: its content.
        read: reads another file.

    Raises:
        UserError: the file of the negative is damaged, or holds several tokens.
    """
    token, file = embedding.provenance.get(NEGATIVE_KEY), negative_path(path)
    if token is None or not file.is_file():
        return embedding
    negatives = read(file)
    if len(negatives) > 1:
        raise UserError(
            f"{file} holds {len(negatives)} tokens, but beside {path.name} it must hold {sanitize(token)!r} alone; "
            f"rename it if it does not belong to {path.name}"
        )
    (negative,) = negatives
    if (negative.placeholder_token, negative.provenance.get(NEGATIVE_OF_KEY)) != (token, embedding.placeholder_token):
        return embedding
    vectors = {join_key(encoder, NEGATIVE): vectors_KD for encoder, vectors_KD in negative.vectors.items()}
    provenance = {key: text for key, text in embedding.provenance.items() if key != NEGATIVE_KEY}
    return replace(embedding, vectors={**embedding.vectors, **vectors}, provenance=provenance)


def negative_token(token: str) -> str:
    """Returns the token of the negative: `<cat-toy>` -> `<cat-toy-neg>`."""
    match = _TOKEN.fullmatch(token)
    assert match
    return f"{match[1]}{_SUFFIX}{match[2]}"


def negative_path(path: Path) -> Path:
    """Returns the path of the negative's file: `learned_embeds-neg-steps-500` for `learned_embeds-steps-500`."""
    return insert_suffix(path, _SUFFIX)
