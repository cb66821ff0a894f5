"""ComfyUI's layout for several encoders in one torch file: a list of mappings, one for each text encoder."""

from collections.abc import Mapping

from torch import Tensor

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.placeholder import usable, word_of
from tinv.formats.tensors import by_encoder, rows_of

NAME = "list of encoders"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The words of a list; which encoder each mapping is for, the widths tell."""
    if not isinstance(content.root, list) or not content.root or len(content.root) > MAX_TENSORS:
        return None
    words: dict[str, dict[str, Tensor]] = {}
    for part in content.root:
        if not isinstance(part, Mapping) or not all(isinstance(name, str) for name in part):
            return None
        for name, value in part.items():
            rows = by_encoder(rows_of(content.path, name, value))
            before = words.setdefault(word_of(content) if name == "*" else usable(content.path, name), {})
            if before.keys() & rows.keys():
                raise UserError(f"{content.path} holds vectors of {name} twice for {', '.join(rows)}; which are meant?")
            before.update(rows)
    return [LearnedEmbedding(word, vectors) for word, vectors in words.items()] or None
