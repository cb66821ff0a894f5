"""diffusers' two files for one word of SDXL: `learned_embeds.safetensors` and `learned_embeds_2.safetensors`."""

from collections.abc import Callable
from pathlib import Path

from tinv.errors import UserError
from tinv.formats.diffusers import first_of, second_of
from tinv.formats.learned_embedding import LearnedEmbedding

_USUAL = "learned_embeds"


def with_second(
    path: Path, learned: list[LearnedEmbedding], read: Callable[[Path], list[LearnedEmbedding]]
) -> list[LearnedEmbedding]:
    """The words with the vectors of the other file of their pair, if there is one beside theirs.

    Args:
        path: the file, either of the two.
        learned: what it holds.
        read: gives what another file holds.

    Raises:
        UserError: the two do not belong together, or the other is not whole.
    """
    for first, second in ((first_of(path), path), (path, second_of(path))):
        if first is None or not first.is_file() or not second.is_file():
            continue
        try:
            firsts = learned if first == path else read(first)
            seconds = learned if second == path else read(second)
        except UserError:
            if path.name.startswith(_USUAL):
                raise
            continue  # a file of another kind, which is only called alike
        if _belong_together(first, firsts, seconds):
            return [_joined(path, one, other) for one, other in zip(firsts, seconds, strict=True)]
    return learned


def _belong_together(path: Path, firsts: list[LearnedEmbedding], seconds: list[LearnedEmbedding]) -> bool:
    """Whether two files hold the same words, the first for `clip_l`, the second for `clip_g` by its width or name."""
    is_usual = path.name.startswith(_USUAL)
    return (
        [word.placeholder_token for word in firsts] == [word.placeholder_token for word in seconds]
        and all(set(word.vectors) == {"clip_l"} for word in firsts)
        and all(set(word.vectors) == {"clip_g"} or (is_usual and len(word.vectors) == 1) for word in seconds)
    )


def _joined(path: Path, first: LearnedEmbedding, second: LearnedEmbedding) -> LearnedEmbedding:
    (rows_KD,), (others_KD,) = first.vectors.values(), second.vectors.values()
    if len(rows_KD) != len(others_KD):
        raise UserError(
            f"{path} and its other half do not belong together: {first.placeholder_token} has {len(rows_KD)} and "
            f"{len(others_KD)} vectors; was one of them left by an older run?"
        )
    vectors = {"clip_l": rows_KD, "clip_g": others_KD}
    return LearnedEmbedding(first.placeholder_token, vectors, first.provenance)
