"""Which program reads which of our files: the table in docs/files.md, claim by claim.

diffusers is the real one, with real text encoders of the real widths; the others are their rules (`loaders.py`).
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
from tinv.formats import FORMATS, LearnedEmbedding, write

FORMAT = {known.name: known for known in FORMATS}
SD1 = LearnedEmbedding("<cat-toy>", {"clip_l": L}, {"base_model": "x/y", "steps": "3"})
SD2 = replace(SD1, vectors={"clip_h": H})
SDXL = replace(SD1, vectors={"clip_l": L, "clip_g": G})
ONE = ("diffusers", "diffusers_bin", "a1111", "a1111_png", "emb_params")
BOTH = ("diffusers", "diffusers_bin", "a1111", "a1111_png", "sdxl")


def saved(folder: Path, learned: LearnedEmbedding, name: str) -> list[Path]:
    return write(FORMAT[name].place(folder, learned), learned, name)


def same(found: Tensor | None, rows: Tensor) -> bool:
    return found is not None and torch.equal(found.reshape(-1, rows.shape[1]), rows)


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
    """A pipeline whose text encoder has a real model's width; its other parts take no part."""
    parts = tiny_parts() | {"tokenizer": deepcopy(tiny_tokenizer()), "text_encoder": text_encoder(width)}
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def sdxl_pipeline() -> StableDiffusionXLPipeline:
    parts = tiny_parts() | {"tokenizer": deepcopy(tiny_tokenizer()), "tokenizer_2": deepcopy(tiny_tokenizer())}
    parts |= {"text_encoder": text_encoder(768), "text_encoder_2": text_encoder(1280, CLIPTextModelWithProjection)}
    return StableDiffusionXLPipeline(**parts, feature_extractor=None)


def rows_in(tokenizer: Any, encoder: Any, word: str, count: int = 2) -> Tensor:
    """The vectors that a pipeline uses for a word of several."""
    ids = tokenizer.convert_tokens_to_ids([word, *(f"{word}_{i}" for i in range(1, count))])
    return encoder.get_input_embeddings().weight[ids]


@pytest.mark.parametrize("learned", [SD1, SD2], ids=["SD1", "SD2"])
@pytest.mark.parametrize("name", ONE)
def test_diffusers_reads_what_is_claimed(tmp_path: Path, learned: LearnedEmbedding, name: str) -> None:
    (file,) = saved(tmp_path, learned, name)
    (rows,) = learned.vectors.values()
    pipe = pipeline(rows.shape[1])
    if name == "a1111_png":
        with pytest.raises(OSError, match=r"[Uu]nable to load weights"):
            pipe.load_textual_inversion(str(file))
        return
    options = {"token": "<cat-toy>"} if name == "emb_params" else {}
    pipe.load_textual_inversion(str(file), **options)
    assert torch.equal(rows_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), rows)
    assert pipe.maybe_convert_prompt("a <cat-toy>", pipe.tokenizer) == "a <cat-toy> <cat-toy>_1"


def test_diffusers_finds_its_files_in_a_folder(tmp_path: Path) -> None:
    for name in ("diffusers", "diffusers_bin"):
        saved(tmp_path / name, SD1, name)
        pipe = pipeline(768)
        pipe.load_textual_inversion(str(tmp_path / name))
        assert torch.equal(rows_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), L)


def test_kohyas_file_needs_a_token_in_diffusers(tmp_path: Path) -> None:
    pipe = pipeline(768)
    pipe.load_textual_inversion(str(*saved(tmp_path, SD1, "emb_params")))
    assert "emb_params" in pipe.tokenizer.get_vocab()


@pytest.mark.parametrize("name", BOTH)
def test_diffusers_reads_sdxl_from_two_files_or_tensor_by_tensor(tmp_path: Path, name: str) -> None:
    files = saved(tmp_path, SDXL, name)
    pipe = sdxl_pipeline()
    parts = ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2))
    if len(files) == 2:
        for file, (tokenizer, encoder) in zip(files, parts, strict=True):
            pipe.load_textual_inversion(str(file), tokenizer=tokenizer, text_encoder=encoder)
    else:
        with pytest.raises((ValueError, OSError)):
            pipe.load_textual_inversion(str(files[0]), token="<cat-toy>", tokenizer=pipe.tokenizer)
        if name != "sdxl":
            return
        tensors = load_file(files[0])
        for key, (tokenizer, encoder) in zip(("clip_l", "clip_g"), parts, strict=True):
            pipe.load_textual_inversion(tensors[key], token="<cat-toy>", tokenizer=tokenizer, text_encoder=encoder)
    for (tokenizer, encoder), rows in zip(parts, (L, G), strict=True):
        assert torch.equal(rows_in(tokenizer, encoder, "<cat-toy>"), rows)


@pytest.mark.parametrize("learned", [SD1, SD2], ids=["SD1", "SD2"])
@pytest.mark.parametrize("name", ONE)
def test_the_other_programs_read_what_is_claimed_of_one_encoder(
    tmp_path: Path, learned: LearnedEmbedding, name: str
) -> None:
    (file,) = saved(tmp_path, learned, name)
    ((encoder, rows),) = learned.vectors.items()
    webui = automatic1111(file, rows.shape[1])
    assert webui is not None and same(webui[1][""], rows)
    # The file's name is the word; but a picture's is the one in it, and diffusers' files have a name of their own.
    assert webui[0] == {"a1111_png": "<cat-toy>"}.get(name, file.stem)
    assert automatic1111(file, 2048) is None
    assert same(comfyui(file, encoder), rows) is (name != "a1111_png")
    assert (invokeai(file) is not None) is (name in ("a1111", "emb_params"))
    if name in ("a1111", "emb_params"):
        assert same((invokeai(file) or {})[""], rows)
        assert file.stem == "cat-toy"


@pytest.mark.parametrize("name", BOTH)
def test_the_other_programs_read_what_is_claimed_of_sdxl(tmp_path: Path, name: str) -> None:
    files = saved(tmp_path, SDXL, name)
    if len(files) == 2:
        assert [automatic1111(file, 2048) for file in files] == [None, None]
        assert [invokeai(file) for file in files] == [None, None]
        assert same(comfyui(files[0], "clip_l"), L) and comfyui(files[0], "clip_g") is None
        assert same(comfyui(files[1], "clip_g"), G) and comfyui(files[1], "clip_l") is None
        return
    (file,) = files
    webui = automatic1111(file, 2048)
    assert webui is not None
    assert (webui[0], same(webui[1]["clip_l"], L), same(webui[1]["clip_g"], G)) == ("cat-toy", True, True)
    assert automatic1111(file, 768) is None
    assert same(comfyui(file, "clip_l"), L) is same(comfyui(file, "clip_g"), G) is (name != "a1111_png")
    invoke = invokeai(file)
    assert (invoke is not None) is (name != "a1111_png")
    assert invoke is None or (same(invoke["clip_l"], L) and same(invoke["clip_g"], G))


def test_comfyui_finds_t5_under_the_name_that_is_written(tmp_path: Path) -> None:
    flux = replace(SD1, vectors={"clip_l": L, "t5": torch.ones(2, 4096)})
    (file,) = saved(tmp_path, flux, "sdxl")
    assert same(comfyui(file, "t5xxl"), flux.vectors["t5"])
    assert same(comfyui(file, "clip_l"), L)
