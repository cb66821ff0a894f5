"""OneTrainer's other kind of vectors, `..._out`: added behind the text encoder, so no words in front of it."""

import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import Content
from tinv.formats.tensors import rows_of

_OUT = "_out"


def without_out(names: Sequence[str]) -> set[str]:
    """The names of the encoders that the tensors belong to."""
    return {name.removesuffix(_OUT) for name in names}


def input_rows(content: Content, encoders: Mapping[str, str]) -> dict[str, Tensor]:
    """The vectors in front of each text encoder; those behind it are left out with a warning.

    Args:
        content: the file.
        encoders: our name of each encoder by the file's.

    Raises:
        UserError: the word was learned behind the encoders only.
    """
    behind = [name for name in content.names if name.endswith(_OUT)]
    rows = {
        encoders[name]: rows_of(content.path, name, content.root[name]) for name in content.names if name in encoders
    }
    if behind:
        rows = {encoder: rows_KD for encoder, rows_KD in rows.items() if rows_KD.any()}
        if not rows:
            raise UserError(
                f"{content.path} was learned behind the text encoder (OneTrainer's output embedding), which only "
                f"OneTrainer uses; it holds no vectors of a word"
            )
        warnings.warn(f"{content.path}: {', '.join(behind)} left out, which only OneTrainer uses", stacklevel=2)
    return rows
