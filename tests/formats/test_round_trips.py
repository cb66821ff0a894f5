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
from tinv.formats import FORMATS, LearnedEmbedding, encoder_of_width, get_format, read, read_all, write

PROVENANCE = {"base_model": "runwayml/stable-diffusion-v1-5", "steps": "300", "seed": "0", "license": "CC0-1.0"}


@cache
def read_foreign(make: Callable[[Path], ForeignFile], folder: Path) -> list[LearnedEmbedding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_all(make(folder).path)


def save(folder: Path, embedding: LearnedEmbedding, name: str) -> Path:
    return write(get_format(name).default_path(folder, embedding), embedding, name)[0]


def fits(name: str, embedding: LearnedEmbedding) -> bool:
    """Returns by hand whether a format has room."""
    encoders = set(embedding.vectors)
    if name in ("diffusers", "diffusers_bin", "comfy"):
        return True
    is_sdxl, is_one_clip = encoders == {"clip_l", "clip_g"}, encoders in ({"clip_l"}, {"clip_h"}, {"clip_g"})
    if name == "sdxl":
        return is_sdxl
    if name == "onetrainer":
        return encoders != {"clip_g"} and encoders <= {"clip_l", "clip_h", "clip_g", "t5", "gemma", "llama"}
    return is_one_clip or (is_sdxl and name != "emb_params")


def is_determined_by_width(embedding: LearnedEmbedding) -> bool:
    """Returns whether the widths say which text encoders the vectors are for; a `.bin` has no room for their names."""
    return all(encoder_of_width(v_KD.shape[1]) == encoder for encoder, v_KD in embedding.vectors.items())


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
        if name == "diffusers_bin" and not is_determined_by_width(before):
            by_width = [{v_KD.shape[1]: v_KD for v_KD in each.vectors.values()} for each in (before, after)]
            assert all(torch.equal(by_width[0][width], by_width[1][width]) for width in by_width[0])
            continue
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
