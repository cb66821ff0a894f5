"""Whether words belong to a model."""

import warnings
from collections.abc import Mapping, Sequence

from tinv.errors import UserError
from tinv.formats import LearnedEmbedding
from tinv.models.base import LatentDiffusion
from tinv.models.conditioning import layers_of
from tinv.token_parts import describe_parts, encoder_of, is_of_layers, parts


def check_fit(learned: Sequence[LearnedEmbedding], model: LatentDiffusion) -> None:
    """Refuse words that have vectors for other encoders or of other widths; warn of those learned on another model.

    Raises:
        UserError: naming what the file has and what the model takes.
    """
    wanted = {encoder: table.shape[1] for encoder, table in model.tables.items()}
    for word in learned:
        widths = {encoder_of(name): rows_KD.shape[1] for name, rows_KD in word.vectors.items()}
        if widths != wanted:
            raise UserError(
                f"{word.placeholder_token} has vectors of width {_shown(widths)}, {model.name} takes {_shown(wanted)}: it "
                f"was learned on another kind of model; give that one with --model"
            )
        known = parts(word.vectors)
        if is_of_layers(known) and set(known) != set(layers_of(model.unet)):
            raise UserError(
                f"{word.placeholder_token} has vectors for {describe_parts(known)} that it was learned on, {model.name} has other "
                f"layers; give that model with --model"
            )
        if word.provenance.get("fingerprint", model.fingerprint) != model.fingerprint:
            warnings.warn(f"{word.placeholder_token} was learned on another model than {model.name}", stacklevel=2)


def _shown(widths: Mapping[str, int]) -> str:
    return " and ".join(f"{width} ({encoder})" for encoder, width in sorted(widths.items()))
