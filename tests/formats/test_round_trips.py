"""Every embedding that is read can be written in every format with room for it, and read again bit for bit."""

import warnings
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.formats.foreign import FILES, ForeignFile, G, L
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, get_format, read, read_all, write

PROVENANCE = {"base_model": "runwayml/stable-diffusion-v1-5", "steps": "300", "seed": "0", "license": "CC0-1.0"}


@cache
def read_foreign(make: Callable[[Path], ForeignFile], folder: Path) -> list[LearnedEmbedding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_all(make(folder).path)


def save(folder: Path, embedding: LearnedEmbedding, name: str) -> Path:
    return write(get_format(name).default_path(folder, embedding), embedding, name)[0]


def fits(name: str, embedding: LearnedEmbedding) -> bool:
    """Returns by hand whether a format has room: all encoders in `sdxl`, except a single CLIP."""
    encoders = set(embedding.vectors)
    is_one_clip = len(encoders) == 1 and encoders < {"clip_l", "clip_h", "clip_g"}
    if name == "sdxl":
        return not is_one_clip
    return is_one_clip or (encoders == {"clip_l", "clip_g"} and name != "emb_params")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_every_reader_with_every_writer(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, make: Callable[[Path], ForeignFile], name: str
) -> None:
    """Includes `clip_l` and `clip_g` in one file, which diffusers' loader refuses."""
    for before in read_foreign(make, tmp_path_factory.getbasetemp() / "foreign" / make.__name__):
        if not fits(name, before):
            with pytest.raises(UserError, match="has no room for"):
                save(tmp_path, before, name)
            continue
        path = save(tmp_path / "out", before, name)
        after = read(path)
        assert after.vectors.keys() == before.vectors.keys()
        assert all(torch.equal(after.vectors[encoder], v_KD) for encoder, v_KD in before.vectors.items())
        if name.startswith("a1111") and len(before.vectors) > 1:  # has no room for token or provenance
            assert after.placeholder_token == path.stem
        else:
            assert after.placeholder_token == before.placeholder_token
            assert after.provenance == before.provenance or name == "diffusers_bin"


@pytest.mark.parametrize("name", FORMATS)
def test_provenance_survives_and_standard_keys_do_not_accumulate(tmp_path: Path, name: str) -> None:
    after = LearnedEmbedding("<cat-toy>", {"clip_l": L} | ({"clip_g": G} if name == "sdxl" else {}), PROVENANCE)
    for _ in range(2):
        after = read(save(tmp_path, after, name))
    assert after.provenance == ({} if name == "diffusers_bin" else PROVENANCE)
    assert (after.placeholder_token, torch.equal(after.vectors["clip_l"], L)) == ("<cat-toy>", True)


@pytest.mark.parametrize(("first", "second"), [*product(FORMATS, FORMATS)])
def test_extreme_numbers_survive_any_two_formats(tmp_path: Path, first: str, second: str) -> None:
    """Includes numbers that a decimal text or half precision would change."""
    info = torch.finfo(torch.float32)
    numbers = torch.tensor([info.max, info.min, info.tiny, info.smallest_normal, 1e-45, -0.0, 0.1, 1 / 3])
    vectors = {"clip_l": numbers.repeat(2, 96), "clip_g": numbers.repeat(2, 160)}
    if "emb_params" in (first, second):
        if "sdxl" in (first, second):
            return
        del vectors["clip_g"]
    between = read(save(tmp_path / "1", LearnedEmbedding("cat-toy", vectors), first), token="cat-toy")
    after = read(save(tmp_path / "2", between, second))
    for encoder, vectors_KD in vectors.items():
        assert torch.equal(after.vectors[encoder].view(torch.int32), vectors_KD.view(torch.int32))
