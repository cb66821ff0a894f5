"""The torch files that ComfyUI reads for several encoders: a list of mappings, one for each text encoder."""

from collections.abc import Mapping

from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.placeholder import check_token, resolve_token
from tinv.formats.tensors import read_vectors, split_by_encoder

NAME = "list of encoders"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embeddings of a list. The width of a tensor decides which encoder it is for."""
    if not isinstance(content.root, list) or not content.root or len(content.root) > MAX_TENSORS:
        return None
    vectors: dict[str, dict[str, Tensor]] = {}
    for part in content.root:
        if not isinstance(part, Mapping) or not all(isinstance(name, str) for name in part):
            return None
        for name, value in part.items():
            new = split_by_encoder(read_vectors(content.path, name, value))
            merged = vectors.setdefault(resolve_token(content) if name == "*" else check_token(content.path, name), {})
            if merged.keys() & new.keys():
                raise UserError(f"{content.path} holds two sets of vectors of {name} for {', '.join(new)}")
            merged.update(new)
    return [
        LearnedEmbedding(token, by_encoder, has_guessed_encoders=True) for token, by_encoder in vectors.items()
    ] or None
