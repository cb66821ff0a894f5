"""tinv's own layout for extended embeddings: a tensor [K, D] for each part, `clip_l/stage.0`, `clip_l/stage.1` ...

No other program can use such an embedding, and a single part is a different embedding; so the file says what it is.
"""

from pathlib import Path

from tinv.errors import UserError
from tinv.formats.content import MAX_TENSORS, Content, join_names
from tinv.formats.learned_embedding import LearnedEmbedding
from tinv.formats.metadata import build_metadata, read_provenance
from tinv.formats.placeholder import resolve_token
from tinv.formats.safetensors_container import save_safetensors
from tinv.formats.tensors import read_vectors
from tinv.token_parts import describe_parts, encoder_of, join_key, part_of, parts

NAME = "parts"
_ABOUT, _PARTS = "about", "parts"


def read(content: Content) -> list[LearnedEmbedding] | None:
    """Returns the embedding of a file whose tensors are named by text encoder and part."""
    names = content.names
    if not 0 < len(names) <= MAX_TENSORS or not all(map(part_of, names)):
        return None
    part_names = content.metadata.get(_PARTS, "").split()[: MAX_TENSORS + 1]
    expected = [join_key(encoder, part) for encoder in sorted(set(map(encoder_of, names))) for part in part_names]
    if sorted(names) != sorted(expected):
        raise UserError(
            f"{content.path} has the tensors {join_names(names)} of an extended embedding, but its metadata lists "
            f"({join_names(part_names) or 'nothing'}); download or export it again"
        )
    vectors = {name: read_vectors(content.path, name, content.root[name]) for name in expected}
    provenance = read_provenance({k: text for k, text in content.metadata.items() if k not in (_ABOUT, _PARTS)})
    return [LearnedEmbedding(resolve_token(content), vectors, provenance)]


def write(path: Path, embedding: LearnedEmbedding) -> list[Path]:
    """Writes an extended embedding; returns the files."""
    part_names = parts(embedding.vectors)
    about = (
        f"textual inversion with its own vectors for {describe_parts(part_names)}: not an ordinary embedding; "
        f"load it into a diffusers pipeline with tinv.load_embedding(pipe, file)"
    )
    metadata = {**build_metadata(embedding, with_token=True), _ABOUT: about, _PARTS: " ".join(part_names)}
    return [save_safetensors(path, dict(embedding.vectors), metadata)]
