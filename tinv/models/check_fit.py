"""Checks that learned embeddings fit a model."""

import warnings
from collections.abc import Mapping, Sequence

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.formats.unusual_vectors import find_unusual_vectors
from tinv.models.base import LatentDiffusion
from tinv.models.conditioning import layers_of
from tinv.token_parts import describe_parts, encoder_of, is_of_layers, parts


def check_fit(learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> None:
    """Refuse embeddings for other text encoders, widths or layers; warn of unusual vectors and of another model.

    An embedding may have vectors for some of the model's encoders, if it was learned on this very model or has those of
    the last encoder. So the embeddings of Stable Diffusion 1, which are for SDXL's first alone, are refused there.

    Raises:
        UserError: an embedding does not fit.
    """
    expected = {role: table.shape[1] for role, table in model.tables.items()}
    for embedding in learned:
        token = embedding.placeholder_token
        widths = {encoder_of(name): vectors_KD.shape[1] for name, vectors_KD in embedding.vectors.items()}
        is_partial = widths.items() <= expected.items() and (
            embedding.provenance.get("fingerprint") == model.fingerprint or [*expected][-1] in widths
        )
        if widths != expected and not is_partial:
            raise UserError(
                f"{token} has vectors of width {_format_widths(widths)}, but {model.name} needs "
                f"{_format_widths(expected)}. It was learned on another kind of model: give that model with --model."
            )
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


def _format_widths(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{width} ({role})" for role, width in sorted(widths.items()))
