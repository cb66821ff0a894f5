"""Which program reads which of our files.

diffusers is the real library, with text encoders of the real widths; the others are their rules (`loaders.py`).
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.formats.foreign import G, H, L
from tests.formats.loaders import automatic1111, comfyui, invokeai
from tests.tiny import tiny_parts, tiny_tokenizer
from tinv.formats import FORMATS, LearnedEmbedding, get_format, write

SD1 = LearnedEmbedding("<cat-toy>", {"clip_l": L}, {"base_model": "x/y", "steps": "3"})
SD2 = replace(SD1, vectors={"clip_h": H})
SDXL = replace(SD1, vectors={"clip_l": L, "clip_g": G})


def saved(folder: Path, embedding: LearnedEmbedding, name: str) -> list[Path]:
    return write(get_format(name).default_path(folder, embedding), embedding, name)


def same(loaded: Tensor | None, vectors_KD: Tensor) -> bool:
    return loaded is not None and torch.equal(loaded.reshape(-1, vectors_KD.shape[1]), vectors_KD)


def text_encoder(width: int, kind: Any = CLIPTextModel) -> Any:
    tokenizer = tiny_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def pipeline(width: int) -> StableDiffusionPipeline:
    """Returns a pipeline whose text encoder has a real model's width; its other parts are not used."""
    parts = tiny_parts() | {"tokenizer": deepcopy(tiny_tokenizer()), "text_encoder": text_encoder(width)}
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def sdxl_pipeline() -> StableDiffusionXLPipeline:
    parts = tiny_parts() | {"tokenizer": deepcopy(tiny_tokenizer()), "tokenizer_2": deepcopy(tiny_tokenizer())}
    parts |= {"text_encoder": text_encoder(768), "text_encoder_2": text_encoder(1280, CLIPTextModelWithProjection)}
    return StableDiffusionXLPipeline(**parts, feature_extractor=None)


def vectors_in(tokenizer: Any, encoder: Any, token: str, count: int = 2) -> Tensor:
    """Returns the vectors that a pipeline uses for a token."""
    ids = tokenizer.convert_tokens_to_ids([token, *(f"{token}_{i}" for i in range(1, count))])
    return encoder.get_input_embeddings().weight[ids]


def can_load(pipe: Any, *arguments: Any, **options: Any) -> bool:
    try:
        pipe.load_textual_inversion(*arguments, **options)
    except (ValueError, OSError):
        return False
    return True


def in_diffusers(files: list[Path], embedding: LearnedEmbedding) -> str:
    """Returns how an embedding is loaded into the real pipeline; checks its vectors there."""
    if len(embedding.vectors) == 1:
        (vectors_KD,) = embedding.vectors.values()
        for how, options in (("yes", {}), ("`token=`", {"token": "<cat-toy>"})):
            pipe = pipeline(vectors_KD.shape[1])
            if can_load(pipe, str(files[0]), **options) and "<cat-toy>" in pipe.tokenizer.get_vocab():
                assert torch.equal(vectors_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), vectors_KD)
                assert pipe.maybe_convert_prompt("a <cat-toy>", pipe.tokenizer) == "a <cat-toy> <cat-toy>_1"
                return how
        return "no"
    pipe = sdxl_pipeline()
    parts = {"clip_l": (pipe.tokenizer, pipe.text_encoder), "clip_g": (pipe.tokenizer_2, pipe.text_encoder_2)}
    if len(files) == 2:
        how, sources = "file by file", dict(zip(parts, map(str, files), strict=True))
    else:
        assert not can_load(pipe, str(files[0]), token="<cat-toy>")
        if files[0].suffix == ".png":
            return "no"
        how, read = "tensor by tensor", load_file if files[0].suffix == ".safetensors" else torch.load
        sources = read(files[0])
    for encoder, (tokenizer, module) in parts.items():
        token = {} if len(files) == 2 else {"token": "<cat-toy>"}
        assert can_load(pipe, sources[encoder], tokenizer=tokenizer, text_encoder=module, **token)
        assert torch.equal(vectors_in(tokenizer, module, "<cat-toy>"), embedding.vectors[encoder])
    return how


def in_automatic1111(files: list[Path], embedding: LearnedEmbedding) -> str:
    width = sum(vectors_KD.shape[1] for vectors_KD in embedding.vectors.values())
    for _, loaded in filter(None, (automatic1111(file, width) for file in files)):
        expected = {"": next(iter(embedding.vectors.values()))} if "" in loaded else embedding.vectors
        assert all(same(loaded[key], vectors_KD) for key, vectors_KD in expected.items())
        return "yes"
    return "no"


def in_comfyui(files: list[Path], embedding: LearnedEmbedding) -> str:
    loaded = [{e for e, v_KD in embedding.vectors.items() if same(comfyui(file, e), v_KD)} for file in files]
    if set(embedding.vectors) in loaded:
        return "yes"
    return "halves" if set().union(*loaded) == set(embedding.vectors) else "no"


def in_invokeai(files: list[Path], embedding: LearnedEmbedding) -> str:
    for loaded in filter(None, map(invokeai, files)):
        expected = {"": next(iter(embedding.vectors.values()))} if "" in loaded else embedding.vectors
        assert all(same(loaded[key], vectors_KD) for key, vectors_KD in expected.items())
        return "yes"
    return "no"


PROGRAMS = (in_diffusers, in_automatic1111, in_comfyui, in_invokeai)
TABLE = [
    ("diffusers", "SD 1, 2", "learned_embeds.safetensors", ("yes", "yes", "yes", "no")),
    ("diffusers_bin", "SD 1, 2", "learned_embeds.bin", ("yes", "yes", "yes", "no")),
    ("a1111", "SD 1, 2", "cat-toy.pt", ("yes", "yes", "yes", "yes")),
    ("a1111_png", "SD 1, 2", "cat-toy.png", ("no", "yes", "no", "no")),
    ("emb_params", "SD 1, 2", "cat-toy.safetensors", ("`token=`", "yes", "yes", "yes")),
    ("diffusers", "SDXL", "learned_embeds.safetensors", ("file by file", "no", "halves", "no")),
    ("diffusers_bin", "SDXL", "learned_embeds.bin", ("file by file", "no", "halves", "no")),
    ("a1111", "SDXL", "cat-toy.pt", ("tensor by tensor", "yes", "yes", "yes")),
    ("a1111_png", "SDXL", "cat-toy.png", ("no", "yes", "no", "no")),
    ("sdxl", "SDXL", "cat-toy.safetensors", ("tensor by tensor", "yes", "yes", "yes")),
]
"""Format, model, first file, and how each of `PROGRAMS` reads it; docs/embedding-formats.md has the same table."""


def test_the_table_has_every_format_that_has_room() -> None:
    expected = {
        (name, model)
        for name in FORMATS
        for model, embedding in {"SD 1, 2": SD1, "SDXL": SDXL}.items()
        for sets in [get_format(name).encoder_sets]
        if (len(embedding.vectors) == 2 if sets is None else frozenset(embedding.vectors) in sets)
    }
    assert {(name, model) for name, model, *_ in TABLE} == expected


@pytest.mark.parametrize(("name", "model", "file", "expected"), TABLE)
def test_the_programs_read_what_the_table_says(
    tmp_path: Path, name: str, model: str, file: str, expected: tuple[str, ...]
) -> None:
    for embedding in (SDXL,) if model == "SDXL" else (SD1, SD2):
        files = saved(tmp_path / next(iter(embedding.vectors)), embedding, name)
        assert files[0].name == file
        assert tuple(program(files, embedding) for program in PROGRAMS) == expected


def test_automatic1111_takes_the_token_from_the_file_name_or_the_image(tmp_path: Path) -> None:
    for name, expected in (("a1111", "cat-toy"), ("emb_params", "cat-toy"), ("a1111_png", "<cat-toy>")):
        webui = automatic1111(*saved(tmp_path, SD1, name), 768)
        assert webui is not None and webui[0] == expected
    assert automatic1111(*saved(tmp_path, SDXL, "a1111"), 768) is None, "an SDXL embedding is not offered to SD 1"


def test_diffusers_finds_its_files_in_a_folder(tmp_path: Path) -> None:
    for name in ("diffusers", "diffusers_bin"):
        saved(tmp_path / name, SD1, name)
        pipe = pipeline(768)
        pipe.load_textual_inversion(str(tmp_path / name))
        assert torch.equal(vectors_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), L)


def test_comfyui_reads_t5_by_its_own_name(tmp_path: Path) -> None:
    flux = replace(SD1, vectors={"clip_l": L, "t5": torch.ones(2, 4096)})
    (file,) = saved(tmp_path, flux, "sdxl")
    assert same(comfyui(file, "t5xxl"), flux.vectors["t5"])
    assert same(comfyui(file, "clip_l"), L)
