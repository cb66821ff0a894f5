"""A written file has the layout that its readers expect, its provenance, and nothing else."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.formats.foreign import T5, G, H, L, rows
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, get_format, write

PROVENANCE = {"base_model": "pkg://tinv/toybox/pipeline", "steps": "300", "seed": "0", "kind": "object"}
XL = {"clip_l": L, "clip_g": G}


def embedding(**changes: object) -> LearnedEmbedding:
    return LearnedEmbedding(
        **{"placeholder_token": "<cat-toy>", "vectors": {"clip_l": L}, "provenance": PROVENANCE} | changes
    )


def fitting(name: str) -> LearnedEmbedding:
    return embedding(vectors=XL if name == "sdxl" else {"clip_l": L})


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_diffusers_is_one_tensor_under_the_placeholder_token(tmp_path: Path) -> None:
    assert write(tmp_path / "x.safetensors", embedding()) == [tmp_path / "x.safetensors"]
    tensors = load_file(tmp_path / "x.safetensors")
    assert list(tensors) == ["<cat-toy>"]
    assert torch.equal(tensors["<cat-toy>"], L)
    assert metadata(tmp_path / "x.safetensors").items() >= {"format": "pt", **PROVENANCE}.items()


@pytest.mark.parametrize(("name", "suffix"), [("diffusers", "safetensors"), ("diffusers_bin", "bin")])
def test_diffusers_sdxl_is_two_files(tmp_path: Path, name: str, suffix: str) -> None:
    files = write(tmp_path / f"learned_embeds.{suffix}", embedding(vectors=XL), name)
    assert [file.name for file in files] == [f"learned_embeds.{suffix}", f"learned_embeds_2.{suffix}"]
    for file, expected in zip(files, (L, G), strict=True):
        tensors = load_file(file) if suffix == "safetensors" else torch.load(file, weights_only=True)
        assert torch.equal(tensors["<cat-toy>"], expected)
    (_, second) = write(tmp_path / f"learned_embeds-steps-50.{suffix}", embedding(vectors=XL), name)
    assert second.name == f"learned_embeds_2-steps-50.{suffix}"


@pytest.mark.parametrize(
    ("vectors", "order"),
    [
        ({"t5": T5, "clip_g": G, "clip_l": L}, ["clip_l", "clip_g", "t5"]),
        ({"t5": T5, "clip_l": L}, ["clip_l", "t5"]),
        ({"clip_l": L, "llama": T5}, ["llama", "clip_l"]),
    ],
)
def test_diffusers_has_a_file_for_each_text_encoder_in_the_order_of_the_pipeline(
    tmp_path: Path, vectors: dict[str, torch.Tensor], order: list[str]
) -> None:
    files = write(tmp_path / "learned_embeds.safetensors", embedding(vectors=vectors))
    names = [f"learned_embeds{suffix}.safetensors" for suffix in ("", "_2", "_3")[: len(order)]]
    assert [file.name for file in files] == names
    for file, encoder in zip(files, order, strict=True):
        assert torch.equal(load_file(file)["<cat-toy>"], vectors[encoder])
        assert metadata(file)["text_encoder"] == encoder


def test_a1111_has_the_fields_of_the_web_ui(tmp_path: Path) -> None:
    write(tmp_path / "x.pt", embedding(), "a1111")
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
    write(tmp_path / "xl.pt", embedding(vectors=XL), "a1111")
    assert set(torch.load(tmp_path / "xl.pt", weights_only=True)) == {"clip_l", "clip_g"}


def test_an_image_shows_the_vectors_between_its_two_blocks(tmp_path: Path) -> None:
    write(tmp_path / "x.png", embedding(), "a1111_png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.height == 512 < image.width
        assert list(image.text) == ["sd-ti-embedding"]


@pytest.mark.parametrize(
    ("name", "vectors", "tensors"),
    [
        ("emb_params", {"clip_l": L}, {"emb_params"}),
        ("comfy", {**XL, "t5": T5}, {"clip_l", "clip_g", "t5xxl"}),
        ("comfy", {"qwen3": T5}, {"qwen3_8b"}),
        ("comfy", {"qwen3": rows(2560)}, {"qwen3_4b"}),
        ("comfy", {"qwen3": rows(8)}, {"qwen3_4b"}),
        ("onetrainer", {"clip_h": H}, {"emp_params"}),
        ("onetrainer", {**XL, "t5": T5}, {"clip_l", "clip_g", "t5"}),
    ],
)
def test_tensors_with_fixed_names_have_the_token_in_the_metadata(
    tmp_path: Path, name: str, vectors: dict[str, torch.Tensor], tensors: set[str]
) -> None:
    (file,) = write(tmp_path / "x.safetensors", embedding(vectors=vectors), name)
    assert set(load_file(file)) == tensors
    assert metadata(file)["placeholder_token"] == "<cat-toy>"


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_vectors_are_written_as_float32_whatever_they_are_in_memory(tmp_path: Path, name: str) -> None:
    """They may be a view of a whole vocabulary that needs gradients; diffusers' own .bin contains that vocabulary."""
    table = torch.nn.Parameter(torch.cat([rows(768, 5000), L.double(), L.double()]).T.contiguous().T)
    vectors = {"clip_l": table[5000:5002]} | ({"clip_g": G.double().T.contiguous().T} if name == "sdxl" else {})
    (file,) = write(tmp_path / "x", embedding(vectors=vectors), name)
    assert file.stat().st_size < {"a1111_png": 2**21, "sdxl": 2**15}.get(name, 2**14)
    if file.read_bytes()[8:9] == b"{":
        assert {(t.dtype, t.ndim) for t in load_file(file).values()} == {(torch.float32, 2)}


@pytest.mark.parametrize(
    ("vectors", "provenance", "architecture"),
    [
        ({"clip_l": L}, {}, "stable-diffusion-v1/textual-inversion"),
        (XL, {}, "stable-diffusion-xl-v1-base/textual-inversion"),
        ({"clip_h": H}, {"prediction_type": "v_prediction"}, "stable-diffusion-v2-768-v/textual-inversion"),
        ({"clip_h": H}, {"prediction_type": "epsilon"}, "stable-diffusion-v2-512/textual-inversion"),
        ({"clip_h": H}, {}, None),
        ({"clip_l": rows(64)}, {}, None),
    ],
)
def test_the_modelspec_keys_name_the_architecture(
    tmp_path: Path, vectors: dict[str, torch.Tensor], provenance: dict[str, str], architecture: str | None
) -> None:
    write(tmp_path / "learned_embeds.safetensors", embedding(vectors=vectors, provenance=provenance))
    assert metadata(tmp_path / "learned_embeds.safetensors").get("modelspec.architecture") == architecture


def test_the_modelspec_keys_have_only_what_is_certain(tmp_path: Path) -> None:
    provenance = {"resolution": "512", "date": "2026-11-22T18:00:00", "prediction_type": "v_prediction"}
    write(tmp_path / "x.safetensors", embedding(provenance={**provenance, "license": "CC0"}))
    spec = {key: text for key, text in metadata(tmp_path / "x.safetensors").items() if key.startswith("modelspec.")}
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
    write(tmp_path / "x.safetensors", embedding(vectors={"clip_l": rows(64)}, provenance={}))
    assert metadata(tmp_path / "x.safetensors") == {
        "format": "pt",
        "text_encoder": "clip_l",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": "<cat-toy>",
        "modelspec.trigger_phrase": "<cat-toy>",
    }


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
def test_files_respect_the_umask_and_leave_no_temporary_files(tmp_path: Path, name: str) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "learned", fitting(name), name)
    finally:
        os.umask(before)
    assert (tmp_path / "learned").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["learned"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no file size limits")
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write"):
            write(tmp_path / "x", fitting(name), name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "vectors", "reason"),
    [
        ("sdxl", {"clip_l": L}, r"the format sdxl has no room for <cat-toy>.*choose emb_params or a1111"),
        ("emb_params", XL, r"vectors for clip_g, clip_l; choose comfy or diffusers"),
        ("a1111", {"clip_l": L, "t5": T5}, r"choose comfy or diffusers"),
        ("onetrainer", {"qwen3": T5}, r"choose comfy or diffusers"),
        ("sdxl", {"clip_l": L, "clip_g": rows(1280, 3)}, r"must have the same number of vectors for each encoder"),
        ("comfyui", {"clip_l": L}, r"there is no format 'comfyui'; choose from diffusers, diffusers_bin, a1111"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, name: str, vectors: dict[str, torch.Tensor], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        write(tmp_path / "x", embedding(vectors=vectors), name)
    assert not list(tmp_path.iterdir())


def test_file_names_are_those_that_programs_expect(tmp_path: Path) -> None:
    assert [get_format(name).default_path(tmp_path, embedding()).name for name in FORMATS] == [
        "learned_embeds.safetensors",
        "learned_embeds.bin",
        "cat-toy.pt",
        "cat-toy.png",
        *4 * ["cat-toy.safetensors"],
    ]


@pytest.mark.parametrize(
    "token", ["__metadata__", "string_to_param", "emb_params", "clip_g", "qwen3_4b", "umt5", "*", "a/b", "x\u202e", " "]
)
def test_a_token_that_no_file_can_hold_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(UserError, match="placeholder_token="):
        write(tmp_path / "x.safetensors", embedding(placeholder_token=token))
    assert not any(tmp_path.iterdir())
