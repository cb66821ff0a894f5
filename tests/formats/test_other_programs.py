"""Which program reads which of our files: the table in docs/embedding-formats.md, claim by claim.

diffusers is the real one, with real text encoders of the real widths; the others are their rules (`loaders.py`).
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import takewhile
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


def loads(pipe: Any, *arguments: Any, **options: Any) -> bool:
    try:
        pipe.load_textual_inversion(*arguments, **options)
    except (ValueError, OSError):
        return False
    return True


def in_diffusers(files: list[Path], learned: LearnedEmbedding) -> str:
    """How a word gets into the real pipeline, with its rows in place."""
    if len(learned.vectors) == 1:
        (rows,) = learned.vectors.values()
        for how, options in (("yes", {}), ("`token=`", {"token": "<cat-toy>"})):
            pipe = pipeline(rows.shape[1])
            if loads(pipe, str(files[0]), **options) and "<cat-toy>" in pipe.tokenizer.get_vocab():
                assert torch.equal(rows_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), rows)
                assert pipe.maybe_convert_prompt("a <cat-toy>", pipe.tokenizer) == "a <cat-toy> <cat-toy>_1"
                return how
        return "no"
    pipe = sdxl_pipeline()
    parts = {"clip_l": (pipe.tokenizer, pipe.text_encoder), "clip_g": (pipe.tokenizer_2, pipe.text_encoder_2)}
    if len(files) == 2:
        how, sources = "file by file", dict(zip(parts, map(str, files), strict=True))
    else:
        assert not loads(pipe, str(files[0]), token="<cat-toy>")
        if files[0].suffix == ".png":
            return "no"
        how, read = "tensor by tensor", load_file if files[0].suffix == ".safetensors" else torch.load
        sources = read(files[0])
    for encoder, (tokenizer, module) in parts.items():
        token = {} if len(files) == 2 else {"token": "<cat-toy>"}
        assert loads(pipe, sources[encoder], tokenizer=tokenizer, text_encoder=module, **token)
        assert torch.equal(rows_in(tokenizer, module, "<cat-toy>"), learned.vectors[encoder])
    return how


def in_automatic1111(files: list[Path], learned: LearnedEmbedding) -> str:
    width = sum(rows.shape[1] for rows in learned.vectors.values())
    for found in filter(None, (automatic1111(file, width) for file in files)):
        named = {"": next(iter(learned.vectors.values()))} if "" in found[1] else learned.vectors
        assert all(same(found[1][key], rows) for key, rows in named.items())
        return "yes"
    return "no"


def in_comfyui(files: list[Path], learned: LearnedEmbedding) -> str:
    reached = [{e for e, rows in learned.vectors.items() if same(comfyui(file, e), rows)} for file in files]
    if set(learned.vectors) in reached:
        return "yes"
    return "halves" if set().union(*reached) == set(learned.vectors) else "no"


def in_invokeai(files: list[Path], learned: LearnedEmbedding) -> str:
    for found in filter(None, map(invokeai, files)):
        named = {"": next(iter(learned.vectors.values()))} if "" in found else learned.vectors
        assert all(same(found[key], rows) for key, rows in named.items())
        return "yes"
    return "no"


PROGRAMS = (in_diffusers, in_automatic1111, in_comfyui, in_invokeai)


def claims() -> Iterator[tuple[str, str, str, list[str]]]:
    """Model, format, file and the four verdicts of each row of the table in docs/embedding-formats.md."""
    lines = (Path(__file__).parents[2] / "docs" / "embedding-formats.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| model | `--to` | file | diffusers | AUTOMATIC1111, Forge | ComfyUI | InvokeAI |") + 2
    for line in takewhile(lambda line: line.startswith("|"), lines[start:]):
        model, name, file, *verdicts = (cell.strip() for cell in line.strip("|").split("|"))
        yield model, name.strip("`"), file.strip("`"), verdicts


def test_the_table_has_every_format_that_has_room() -> None:
    listed = [(model, name) for model, name, _, _ in claims() if name != "pipeline"]
    fitting = {"SD 1, 2": SD1, "SDXL": SDXL}
    expected = [
        (model, known.name)
        for model, word in fitting.items()
        for known in FORMATS
        if (known.holds is None and len(word.vectors) == 2) or (known.holds and frozenset(word.vectors) in known.holds)
    ]
    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize(("model", "name", "file", "verdicts"), [c for c in claims() if c[1] != "pipeline"])
def test_the_programs_read_what_the_table_says(
    tmp_path: Path, model: str, name: str, file: str, verdicts: list[str]
) -> None:
    for learned in (SDXL,) if model == "SDXL" else (SD1, SD2):
        files = saved(tmp_path / learned.placeholder_token / next(iter(learned.vectors)), learned, name)
        assert files[0].name == file
        assert [program(files, learned) for program in PROGRAMS] == verdicts


def test_the_word_is_the_files_name_or_the_one_inside(tmp_path: Path) -> None:
    for name, expected in (("a1111", "cat-toy"), ("emb_params", "cat-toy"), ("a1111_png", "<cat-toy>")):
        webui = automatic1111(*saved(tmp_path, SD1, name), 768)
        assert webui is not None and webui[0] == expected
    assert automatic1111(*saved(tmp_path, SDXL, "a1111"), 768) is None, "an SDXL word is not offered to SD 1"


def test_diffusers_finds_its_files_in_a_folder(tmp_path: Path) -> None:
    for name in ("diffusers", "diffusers_bin"):
        saved(tmp_path / name, SD1, name)
        pipe = pipeline(768)
        pipe.load_textual_inversion(str(tmp_path / name))
        assert torch.equal(rows_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), L)


def test_comfyui_finds_t5_under_the_name_that_is_written(tmp_path: Path) -> None:
    flux = replace(SD1, vectors={"clip_l": L, "t5": torch.ones(2, 4096)})
    (file,) = saved(tmp_path, flux, "sdxl")
    assert same(comfyui(file, "t5xxl"), flux.vectors["t5"])
    assert same(comfyui(file, "clip_l"), L)
