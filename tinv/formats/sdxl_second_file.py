"""diffusers' two files for one SDXL embedding: `learned_embeds.safetensors` and `learned_embeds_2.safetensors`."""

from collections.abc import Callable
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.diffusers import first_path, second_path
from tinv.formats.learned_embedding import LearnedEmbedding

_USUAL = "learned_embeds"


def join_second_file(
    path: Path, embeddings: list[LearnedEmbedding], read: Callable[[Path], list[LearnedEmbedding]]
) -> list[LearnedEmbedding]:
    """Returns the embeddings with the vectors of the other file of the pair, if there is one.

    Args:
        path: either file of the pair.
        embeddings: its content.
        read: reads another file.

    Raises:
        UserError: the two files do not belong together, or the other file is damaged.
    """
    for first, second in ((first_path(path), path), (path, second_path(path))):
        if first is None or not first.is_file() or not second.is_file():
            continue
        try:
            firsts = embeddings if first == path else read(first)
            seconds = embeddings if second == path else read(second)
        except UserError:
            if path.name.startswith(_USUAL):
                raise
            continue  # a file of another kind with a similar name
        if _is_pair(first, firsts, seconds):
            return [_join(path, *pair) for pair in zip(firsts, seconds, strict=True)]
    return embeddings


def _is_pair(path: Path, firsts: list[LearnedEmbedding], seconds: list[LearnedEmbedding]) -> bool:
    """Returns whether two files hold the same tokens, for `clip_l` and for `clip_g` by width or by file name."""
    is_usual = path.name.startswith(_USUAL)
    return (
        [first.placeholder_token for first in firsts] == [second.placeholder_token for second in seconds]
        and all(set(first.vectors) == {"clip_l"} for first in firsts)
        and all(set(second.vectors) == {"clip_g"} or (is_usual and len(second.vectors) == 1) for second in seconds)
    )


def _join(path: Path, first: LearnedEmbedding, second: LearnedEmbedding) -> LearnedEmbedding:
    (l_KD,), (g_KD,) = first.vectors.values(), second.vectors.values()
    if len(l_KD) != len(g_KD):
        raise UserError(
            f"{path} and the other file of its pair do not belong together: {first.placeholder_token} has {len(l_KD)} "
            f"and {len(g_KD)} vectors; is one of them from an older run?"
        )
    return LearnedEmbedding(first.placeholder_token, {"clip_l": l_KD, "clip_g": g_KD}, first.provenance)
