"""diffusers' files of one embedding, one for each text encoder: `learned_embeds`, `learned_embeds_2` and so on."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.diffusers import first_path, numbered_path
from tinv.formats.format import SDXL
from tinv.formats.learned_embedding import LearnedEmbedding, widths
from tinv.formats.text_encoders import find_models

_USUAL = "learned_embeds"
_MAX_FILES = 9


def join_files(
    path: Path, embeddings: list[LearnedEmbedding], read: Callable[[Path], list[LearnedEmbedding]]
) -> list[LearnedEmbedding]:
    """Returns the embeddings with the vectors of the other text encoders, if those have files beside this one.

    Args:
        path: any of the files.
        embeddings: its content.
        read: reads another file.

    Raises:
        UserError: the files do not belong together, or another one is damaged.
    """
    for first in (first_path(path), path):
        if first is None or not (files := _list_files(first)) or path not in files:
            continue
        try:
            contents = [embeddings if file == path else read(file) for file in files]
        except UserError:
            if path.name.startswith(_USUAL):
                raise
            continue  # a file of another kind with a similar name
        tokens = [[embedding.placeholder_token for embedding in content] for content in contents]
        if any(each != tokens[0] for each in tokens):
            continue
        joined = [_join(path, group) for group in zip(*contents, strict=True)]
        if None not in joined:
            return [embedding for embedding in joined if embedding]
    return embeddings


def _list_files(first: Path) -> list[Path]:
    """Returns the file and those of the following text encoders, [] if it has none."""
    files = [first]
    for number in range(2, _MAX_FILES + 1):
        if not (file := numbered_path(first, number)).is_file():
            break
        files.append(file)
    return files if len(files) > 1 and first.is_file() else []


def _join(path: Path, group: Sequence[LearnedEmbedding]) -> LearnedEmbedding | None:
    """Returns the embedding of some files, one for each text encoder; None if they are separate embeddings."""
    if any(len(embedding.vectors) > 1 for embedding in group):
        return None
    vectors = [next(iter(embedding.vectors.values())) for embedding in group]
    roles = [role for embedding in group for role in embedding.vectors]
    is_usual, is_guess = path.name.startswith(_USUAL), any(embedding.has_guessed_encoders for embedding in group)
    if is_usual and is_guess and len(group) == 2 and all(role.startswith("clip") for role in roles):
        roles, is_guess = ["clip_l", "clip_g"], False  # diffusers' SDXL script writes these names at any width
    joined = LearnedEmbedding(
        group[0].placeholder_token,
        dict(zip(roles, vectors, strict=True)),
        group[0].provenance,
        has_guessed_encoders=is_guess,
    )
    if len(joined.vectors) < len(group) or (is_guess and not is_usual and not find_models(widths(joined))):
        return None
    counts = [len(joined.vectors[role]) for role in joined.vectors if role in SDXL]
    if len(set(counts)) > 1:
        raise UserError(
            f"{path} and the other files of its embedding do not belong together: {joined.placeholder_token} has "
            f"{counts[0]} and {counts[1]} vectors; is one of them from an older run?"
        )
    return joined
