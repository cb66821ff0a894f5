"""Whatever is read can be written in every format with room for it, and read again: equal to the bit."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.formats.foreign import FILES, Foreign, G, L
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, read, read_all, write

PROVENANCE = {"base_model": "runwayml/stable-diffusion-v1-5", "steps": "300", "seed": "0", "license": "CC0-1.0"}
KEEPS_PROVENANCE = {"diffusers", "a1111", "a1111_png", "emb_params", "sdxl"}


@cache
def made(make: Callable[[Path], Foreign], folder: Path) -> list[LearnedEmbedding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_all(make(folder).path)


def fits(name: str, learned: LearnedEmbedding) -> bool:
    """By hand, what has room where: all encoders in `sdxl`, but not one alone."""
    encoders = set(learned.vectors)
    is_one = len(encoders) == 1 and encoders < {"clip_l", "clip_h", "clip_g"}
    if name == "sdxl":
        return not is_one
    return is_one or (encoders == {"clip_l", "clip_g"} and name != "emb_params")


def has_no_place_for_the_word(name: str, learned: LearnedEmbedding) -> bool:
    return name.startswith("a1111") and len(learned.vectors) > 1


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_every_reader_with_every_writer(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, make: Callable[[Path], Foreign], known: object
) -> None:
    """E-39: diffusers' loader refuses `clip_l` and `clip_g` in one file."""
    for before in made(make, tmp_path_factory.getbasetemp() / "foreign" / make.__name__):
        place = known.place(tmp_path / "out", before)
        if not fits(known.name, before):
            with pytest.raises(UserError, match="has no room for"):
                write(place, before, known.name)
            continue
        after = read(write(place, before, known.name)[0])
        assert after.vectors.keys() == before.vectors.keys()
        assert all(torch.equal(after.vectors[encoder], rows) for encoder, rows in before.vectors.items())
        expected = place.stem if has_no_place_for_the_word(known.name, before) else before.placeholder_token
        assert after.placeholder_token == expected
        if known.name in KEEPS_PROVENANCE and not has_no_place_for_the_word(known.name, before):
            assert after.provenance == before.provenance


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_provenance_is_kept_where_there_is_room_and_standard_keys_do_not_pile_up(tmp_path: Path, known: object) -> None:
    before = LearnedEmbedding("<cat-toy>", {"clip_l": L} | ({"clip_g": G} if known.name == "sdxl" else {}), PROVENANCE)
    after = before
    for _ in range(2):
        after = read(write(known.place(tmp_path, after), after, known.name)[0])
    assert after.provenance == (PROVENANCE if known.name in KEEPS_PROVENANCE else {})
    assert (after.placeholder_token, torch.equal(after.vectors["clip_l"], L)) == ("<cat-toy>", True)


@pytest.mark.parametrize("first", FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("second", FORMATS, ids=lambda known: known.name)
def test_extreme_numbers_survive_any_two_formats(tmp_path: Path, first: object, second: object) -> None:
    """Also those that a decimal text or a half precision would change."""
    info = torch.finfo(torch.float32)
    numbers = torch.tensor([info.max, info.min, info.tiny, info.smallest_normal, 1e-45, -0.0, 0.1, 1 / 3])
    vectors = {"clip_l": numbers.repeat(2, 96), "clip_g": numbers.repeat(2, 160)}
    vectors = {"clip_l": vectors["clip_l"]} if "emb_params" in (first.name, second.name) else vectors
    if len(vectors) == 1 and "sdxl" in (first.name, second.name):
        return
    before = LearnedEmbedding("cat-toy", vectors)
    between = read(write(first.place(tmp_path / "1", before), before, first.name)[0], token="cat-toy")
    after = read(write(second.place(tmp_path / "2", between), between, second.name)[0])
    for encoder, rows in vectors.items():
        assert torch.equal(after.vectors[encoder].view(torch.int32), rows.view(torch.int32))
