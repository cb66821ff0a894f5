"""What is written has the layout that its readers expect, holds nothing else, and says where it comes from."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.formats.foreign import T5, G, H, L, rows
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, write

PROVENANCE = {"base_model": "pkg://tinv/toybox/pipeline", "steps": "300", "seed": "0", "kind": "object"}
NAMES = [known.name for known in FORMATS]


def learned(**changes: object) -> LearnedEmbedding:
    return LearnedEmbedding(
        **{"placeholder_token": "<cat-toy>", "vectors": {"clip_l": L}, "provenance": PROVENANCE} | changes
    )


def texts(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_diffusers_is_one_tensor_under_the_placeholder(tmp_path: Path) -> None:
    assert write(tmp_path / "x.safetensors", learned()) == [tmp_path / "x.safetensors"]
    tensors = load_file(tmp_path / "x.safetensors")
    assert list(tensors) == ["<cat-toy>"]
    assert torch.equal(tensors["<cat-toy>"], L)
    assert texts(tmp_path / "x.safetensors").items() >= {"format": "pt", **PROVENANCE}.items()


def test_diffusers_sdxl_is_two_files(tmp_path: Path) -> None:
    for name, ending in (("diffusers", "safetensors"), ("diffusers_bin", "bin")):
        files = write(tmp_path / f"learned_embeds.{ending}", learned(vectors={"clip_g": G, "clip_l": L}), name)
        assert [file.name for file in files] == [f"learned_embeds.{ending}", f"learned_embeds_2.{ending}"]
        for file, expected in zip(files, (L, G), strict=True):
            tensors = load_file(file) if ending == "safetensors" else torch.load(file, weights_only=True)
            assert torch.equal(tensors["<cat-toy>"], expected)
    (_, second) = write(tmp_path / "learned_embeds-steps-50.safetensors", learned(vectors={"clip_g": G, "clip_l": L}))
    assert second.name == "learned_embeds_2-steps-50.safetensors"


def test_a1111_has_the_web_uis_fields(tmp_path: Path) -> None:
    write(tmp_path / "x.pt", learned(), "a1111")
    tree = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(tree.pop("string_to_param")["*"], L)
    assert tree == {
        "string_to_token": {"*": 265},
        "name": "<cat-toy>",
        "step": 300,
        "sd_checkpoint": None,
        "sd_checkpoint_name": "pkg://tinv/toybox/pipeline",
        "provenance": PROVENANCE,
    }
    write(tmp_path / "xl.pt", learned(vectors={"clip_l": L, "clip_g": G}), "a1111")
    assert set(torch.load(tmp_path / "xl.pt", weights_only=True)) == {"clip_l", "clip_g"}


def test_a_picture_shows_the_vectors_between_its_two_blocks(tmp_path: Path) -> None:
    write(tmp_path / "x.png", learned(), "a1111_png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.height == 512 < picture.width
        assert list(picture.text) == ["sd-ti-embedding"]


def test_kohyas_and_sdxls_tensors_bear_their_names_and_the_word_stands_beside(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", learned(), "emb_params")
    assert list(load_file(tmp_path / "x.safetensors")) == ["emb_params"]
    assert texts(tmp_path / "x.safetensors")["placeholder_token"] == "<cat-toy>"
    write(tmp_path / "x.safetensors", learned(vectors={"clip_l": L, "clip_g": G, "t5": T5}), "sdxl")
    assert set(load_file(tmp_path / "x.safetensors")) == {"clip_l", "clip_g", "t5xxl"}
    assert texts(tmp_path / "x.safetensors")["placeholder_token"] == "<cat-toy>"


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_written_plain_and_alone_whatever_they_are_in_memory(tmp_path: Path, name: str) -> None:
    """As a view of a whole vocabulary that needs gradients; diffusers' own .bin holds that vocabulary (defect E 36)."""
    table = torch.nn.Parameter(torch.cat([rows(768, 5000), L.double(), L.double()]).T.contiguous().T)
    vectors = {"clip_l": table[5000:5002]} | ({"clip_g": G.double().T.contiguous().T} if name == "sdxl" else {})
    (file,) = write(tmp_path / "x", learned(vectors=vectors), name)
    assert file.stat().st_size < (2**21 if name == "a1111_png" else 2**14 + (2**14 if name == "sdxl" else 0))
    if file.read_bytes()[8:9] == b"{":
        assert {(t.dtype, t.ndim) for t in load_file(file).values()} == {(torch.float32, 2)}


@pytest.mark.parametrize(
    ("vectors", "provenance", "architecture"),
    [
        ({"clip_l": L}, {}, "stable-diffusion-v1/textual-inversion"),
        ({"clip_l": L, "clip_g": G}, {}, "stable-diffusion-xl-v1-base/textual-inversion"),
        ({"clip_h": H}, {"prediction_type": "v_prediction"}, "stable-diffusion-v2-768-v/textual-inversion"),
        ({"clip_h": H}, {"prediction_type": "epsilon"}, "stable-diffusion-v2-512/textual-inversion"),
        ({"clip_h": H}, {}, None),
        ({"clip_l": rows(64)}, {}, None),
    ],
)
def test_the_standard_keys_name_the_kind_of_model(
    tmp_path: Path, vectors: dict[str, torch.Tensor], provenance: dict[str, str], architecture: str | None
) -> None:
    write(tmp_path / "learned_embeds.safetensors", learned(vectors=vectors, provenance=provenance))
    assert texts(tmp_path / "learned_embeds.safetensors").get("modelspec.architecture") == architecture


def test_the_standard_keys_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    told = {"resolution": "512", "date": "2026-11-22T18:00:00", "prediction_type": "v_prediction", "license": "CC0"}
    write(tmp_path / "x.safetensors", learned(provenance=told))
    spec = {key: text for key, text in texts(tmp_path / "x.safetensors").items() if key.startswith("modelspec.")}
    assert spec == {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/textual-inversion",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": "<cat-toy>",
        "modelspec.trigger_phrase": "<cat-toy>",
        "modelspec.resolution": "512x512",
        "modelspec.date": "2026-11-22T18:00:00",
        "modelspec.prediction_type": "v",
        "modelspec.license": "CC0",
    }
    write(tmp_path / "x.safetensors", learned(vectors={"clip_l": rows(64)}, provenance={}))
    assert texts(tmp_path / "x.safetensors") == {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": "<cat-toy>",
        "modelspec.trigger_phrase": "<cat-toy>",
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(os.name != "posix", reason="a umask is a thing of POSIX")
def test_files_honour_the_umask_and_leave_nothing_beside_them(tmp_path: Path, name: str) -> None:
    vectors = {"clip_l": L} | ({"clip_g": G} if name == "sdxl" else {})
    before = os.umask(0o027)
    try:
        write(tmp_path / "learned", learned(vectors=vectors), name)
    finally:
        os.umask(before)
    assert (tmp_path / "learned").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["learned"]


@pytest.mark.parametrize("name", NAMES)
def test_a_disk_without_room_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no file size limits")
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write"):
            write(tmp_path / "x", learned(vectors={"clip_l": L} | ({"clip_g": G} if name == "sdxl" else {})), name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "vectors", "reason"),
    [
        ("sdxl", {"clip_l": L}, r"the format sdxl has no room for <cat-toy>.*choose emb_params or a1111"),
        ("emb_params", {"clip_l": L, "clip_g": G}, r"vectors for clip_g, clip_l; choose sdxl"),
        ("a1111", {"clip_l": L, "t5": T5}, r"choose sdxl"),
        ("diffusers", {"t5": T5}, r"choose sdxl"),
        ("sdxl", {"clip_l": L, "clip_g": rows(1280, 3)}, r"needs as many vectors for each encoder"),
        ("comfyui", {"clip_l": L}, r"there is no format 'comfyui'; choose from diffusers, diffusers_bin, a1111"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, vectors: dict[str, torch.Tensor], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        write(tmp_path / "x", learned(vectors=vectors), name)
    assert not list(tmp_path.iterdir())


def test_the_names_of_files_are_those_that_programs_expect(tmp_path: Path) -> None:
    assert {known.name: known.place(tmp_path, learned()).name for known in FORMATS} == {
        "diffusers": "learned_embeds.safetensors",
        "diffusers_bin": "learned_embeds.bin",
        "a1111": "cat-toy.pt",
        "a1111_png": "cat-toy.png",
        "emb_params": "cat-toy.safetensors",
        "sdxl": "cat-toy.safetensors",
    }
