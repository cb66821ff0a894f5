"""Checks that learned embeddings fit a model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.learned_embedding import widths
from tinv.formats.text_encoders import rename_guessed
from tinv.formats.unusual_vectors import find_unusual_vectors
from tinv.models.base import LatentDiffusion
from tinv.models.conditioning import layers_of
from tinv.token_parts import describe_parts, encoder_of, is_of_layers, join_key, part_of, parts


def match_encoders(
    embedding: LearnedEmbedding, expected: Mapping[str, int], *, is_same_model: bool
) -> LearnedEmbedding | None:
    """Returns an embedding with vectors for encoders of a model, None if it does not fit.

    It may have vectors for some of the encoders, if it was learned on this very model or has those of the last encoder.
    So the embeddings of Stable Diffusion 1, which are for SDXL's first alone, are refused there. Where its file did not
    name the encoders, the model's encoders of the same width get the vectors.

    Args:
        embedding: of any model.
        expected: the width of each of the model's encoders, by role.
        is_same_model: whether it was learned on this model.
    """
    if embedding.has_guessed_encoders and (roles := rename_guessed(widths(embedding), expected)):
        vectors = {join_key(roles[encoder_of(name)], part_of(name)): v_KD for name, v_KD in embedding.vectors.items()}
        embedding = replace(embedding, vectors=vectors)
    of_vectors = widths(embedding)
    is_partial = of_vectors.items() <= expected.items() and (is_same_model or [*expected][-1] in of_vectors)
    return embedding if of_vectors == expected or is_partial else None


def check_fit(learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> list[LearnedEmbedding]:
    """Refuse embeddings for other text encoders, widths or layers; warn of unusual vectors and of another model.

    Returns:
        The embeddings, with the roles of the model's encoders (see `match_encoders`).

    Raises:
        UserError: an embedding does not fit.
    """
    expected = {role: table.shape[1] for role, table in model.tables.items()}
    matched = []
    for embedding in learned:
        token = embedding.placeholder_token
        is_same_model = embedding.provenance.get("fingerprint") == model.fingerprint
        fitting = match_encoders(embedding, expected, is_same_model=is_same_model)
        if fitting is None:
            raise UserError(
                f"{token} has vectors of width {_format_widths(widths(embedding))}, but {model.name} needs "
                f"{_format_widths(expected)}. It was learned on another kind of model: give that model with --model."
            )
        matched.append(fitting)
        names = parts(embedding.vectors)
        if is_of_layers(names) and set(names) != set(layers_of(model.denoiser)):
            raise UserError(
                f"{token} has vectors for {describe_parts(names)} that it was learned on, but {model.name} has other "
                f"layers. Give that model with --model."
            )
        if problem := find_unusual_vectors(embedding.vectors):
            warnings.warn(f"{token}: {problem}; the images will not show what was learned", stacklevel=2)
        if embedding.provenance.get("fingerprint", model.fingerprint) != model.fingerprint:
            warnings.warn(f"{token} was learned on another model than {model.name}", stacklevel=2)
    return matched


def _format_widths(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{width} ({role})" for role, width in sorted(widths.items()))
