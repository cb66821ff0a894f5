"""tinv's own layout for words that have parts: a tensor [K, D] for each of them, `clip_l/stage.0`, `clip_l/stage.1` ...

No other program can use such a word, and one part of it is another word; so the file says what it is.
"""

from pathlib import Path

from safetensors.torch import save

from tinv.errors import UserError
from tinv.formats.content import Content, listed
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import provenance_of, texts_of
from tinv.formats.placeholder import word_of
from tinv.formats.tensors import rows_of
from tinv.runs.files import atomic
from tinv.token_parts import describe_parts, encoder_of, join_key, part_of, parts

NAME = "parts"
_ABOUT, _PARTS = "about", "parts"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """The word of a file whose tensors are called by text encoder and part."""
    names = content.names
    if not names or not all(map(part_of, names)):
        return None
    known = tuple(content.metadata.get(_PARTS, "").split())
    wanted = [join_key(encoder, part) for encoder in sorted(set(map(encoder_of, names))) for part in known]
    if sorted(names) != sorted(wanted):
        raise UserError(
            f"{content.path} has the tensors of a word that has parts ({listed(names)}), but not those "
            f"that it says it has ({listed([*known]) or 'nothing'}); fetch or export it again"
        )
    rows = {name: rows_of(content.path, name, content.root[name]) for name in wanted}
    told = {key: text for key, text in provenance_of(content.metadata).items() if key not in (_ABOUT, _PARTS)}
    return [LearnedEmbedding(word_of(content), rows, told)]


def write(path: Path, learned: LearnedEmbedding) -> list[Path]:
    """Write a word that has parts."""
    known = parts(learned.vectors)
    about = (
        f"textual inversion with rows of its own for {describe_parts(known)}: no ordinary embedding; "
        f"tinv.inference.load_pipeline.load(pipe, file) makes a pipeline of diffusers use it"
    )
    texts = {**texts_of(learned, names_word=True), _ABOUT: about, _PARTS: " ".join(known)}
    with atomic(path) as draft:
        draft.write_bytes(save(dict(learned.vectors), texts))
    return [path]
