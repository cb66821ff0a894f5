"""A truncated file gives its vectors or is refused, and so does a file with changed bytes; neither crashes.

Only images and zips have checksums: a changed number in a bare tensor is a number like any other.
"""

import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.formats.foreign import FILES, ForeignFile
from tests.formats.test_hostile import bounded
from tests.formats.test_reading import same
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, read_all

CASES = 12


def read_or_none(path: Path) -> list[LearnedEmbedding] | None:
    with warnings.catch_warnings(), suppress(UserError):
        warnings.simplefilter("ignore")
        return read_all(path)
    return None


def main_file(made: ForeignFile) -> Path:
    return made.path if made.path.is_file() else next(made.path.glob("*embed*"))


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_truncated_file_gives_its_vectors_or_is_refused(tmp_path: Path, make: Callable[[Path], ForeignFile]) -> None:
    made = make(tmp_path)
    file = main_file(made)
    content = file.read_bytes()
    rng = random.Random(make.__name__)
    lengths = {0, 1, 2, 7, 8, 9, len(content) - 1, *(rng.randrange(len(content)) for _ in range(CASES))}
    num_refused = 0
    with bounded():
        for length in lengths:
            file.write_bytes(content[:length])
            embeddings = read_or_none(file)
            num_refused += embeddings is None
            assert embeddings is None or same(embeddings, made)
    assert num_refused >= len(lengths) - 2


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_file_with_changed_bytes_gives_vectors_or_is_refused(
    tmp_path: Path, make: Callable[[Path], ForeignFile]
) -> None:
    file = main_file(make(tmp_path))
    content = file.read_bytes()
    rng = random.Random(make.__name__)
    with bounded():
        for case in range(2 * CASES):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 1, 20))):
                span = len(changed) if case % 2 else min(len(changed), 600)  # half of them in the header
                changed[rng.randrange(span)] = rng.randrange(256)
            file.write_bytes(changed)
            for embedding in read_or_none(file) or []:
                for vectors_KD in embedding.vectors.values():
                    assert (vectors_KD.dtype, vectors_KD.ndim) == (torch.float32, 2)
                    assert vectors_KD.isfinite().all() and vectors_KD.numel() <= 2**24
