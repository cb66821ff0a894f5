"""OneTrainer's output embeddings, `..._out`: vectors added after the text encoder, not input vectors of a token."""

import warnings
from collections.abc import Mapping, Sequence

from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import Content
from tinv.formats.tensors import read_vectors

_OUT = "_out"


def encoder_names(names: Sequence[str]) -> set[str]:
    """Returns the names of the encoders that the tensors belong to."""
    return {name.removesuffix(_OUT) for name in names}


def input_vectors(content: Content, encoders: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns the input vectors of each text encoder; warns of output embeddings, which are left out.

    Args:
        content: the file.
        encoders: our name of each encoder by the name in the file.

    Raises:
        UserError: the file has output embeddings only.
    """
    path, outputs = content.path, [name for name in content.names if name.endswith(_OUT)]
    vectors = {
        encoders[name]: read_vectors(path, name, content.root[name]) for name in content.names if name in encoders
    }
    if outputs:
        vectors = {encoder: vectors_KD for encoder, vectors_KD in vectors.items() if vectors_KD.any()}
        if not vectors:
            raise UserError(
                f"{path} has only an output embedding, learned after the text encoder, which only OneTrainer uses; it "
                f"holds no vectors of a token"
            )
        warnings.warn(f"{path}: left out {', '.join(outputs)}, which only OneTrainer uses", stacklevel=2)
    return vectors
