"""A file that was cut short gives its rows or a refusal, one that was changed gives rows or a refusal; never a crash.

Only pictures and zips have checksums: a changed number in a bare tensor is a number like any other.
"""

import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.formats.foreign import FILES, Foreign
from tests.formats.test_hostile import bounded
from tests.formats.test_reading import same
from tinv.errors import UserError
from tinv.formats import LearnedEmbedding, read_all

CASES = 12


def outcome(path: Path) -> list[LearnedEmbedding] | None:
    """The words, or None where the file is refused."""
    with warnings.catch_warnings(), suppress(UserError):
        warnings.simplefilter("ignore")
        return read_all(path)
    return None


def whole_file(made: Foreign) -> Path:
    return made.path if made.path.is_file() else next(made.path.glob("*embed*"))


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_file_cut_anywhere_gives_its_rows_or_is_refused(tmp_path: Path, make: Callable[[Path], Foreign]) -> None:
    made = make(tmp_path)
    file = whole_file(made)
    content = file.read_bytes()
    draw = random.Random(make.__name__)
    points = {0, 1, 2, 7, 8, 9, len(content) - 1, *(draw.randrange(len(content)) for _ in range(CASES))}
    refused = 0
    with bounded():
        for point in points:
            file.write_bytes(content[:point])
            learned = outcome(file)
            refused += learned is None
            assert learned is None or same(learned, made)
    assert refused >= len(points) - 2


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_file_with_changed_bytes_gives_rows_or_is_refused(tmp_path: Path, make: Callable[[Path], Foreign]) -> None:
    file = whole_file(make(tmp_path))
    content = file.read_bytes()
    draw = random.Random(make.__name__)
    with bounded():
        for case in range(2 * CASES):
            changed = bytearray(content)
            for _ in range(draw.choice((1, 1, 1, 20))):
                span = len(changed) if case % 2 else min(len(changed), 600)  # half of them where the structure is
                changed[draw.randrange(span)] = draw.randrange(256)
            file.write_bytes(changed)
            for word in outcome(file) or []:
                for rows_KD in word.vectors.values():
                    assert (rows_KD.dtype, rows_KD.ndim) == (torch.float32, 2)
                    assert rows_KD.isfinite().all() and rows_KD.numel() <= 2**24
