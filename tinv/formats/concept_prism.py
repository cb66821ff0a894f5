"""The `learned_embeddings.pt` of ConceptPrism: a bare tensor of the target's vector and those of single images.

Layout of Minseo-Kimm/ConceptPrism at 4aff7422: the vectors of the target token, one unless `--num_target_tokens` says
more, then residual vectors of each training image, which are of no use afterwards. The file names neither token nor
number; the program calls its target `<my_concept>`.
"""

import warnings
from pathlib import Path

from torch import Tensor

from tinv.formats.content import Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.placeholder import resolve_token
from tinv.formats.tensors import read_vectors, split_by_encoder

NAME = "ConceptPrism"
FILE_NAME = "learned_embeddings.pt"
_TOKEN = "<my_concept>"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the target of a file with the program's name that is a bare tensor [K, D]."""
    tensor = content.root
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or not content.path.name.startswith(Path(FILE_NAME).stem):
        return None
    vectors_KD = read_vectors(content.path, _TOKEN, tensor)
    if len(vectors_KD) > 1:
        warnings.warn(
            f"{content.path}: took the first of {len(vectors_KD)} vectors, the target; the others belong to single "
            f"training images, or to a run with --num_target_tokens",
            stacklevel=2,
        )
    vectors = split_by_encoder(vectors_KD[:1].clone())
    return [LearnedEmbedding(resolve_token(content, _TOKEN), vectors, has_guessed_encoders=True)]
