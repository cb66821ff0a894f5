"""Which program reads which of our files.

diffusers is the real library, with text encoders of the real widths; the others are their rules (`loaders.py`).
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import ChromaPipeline, FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.formats.foreign import T5, G, L, rows
from tests.formats.loaders import COMFYUI, ONETRAINER, automatic1111, comfyui, invokeai, onetrainer
from tests.models.published_transformers import t5_tokenizer
from tests.tiny import tiny_parts, tiny_tokenizer
from tinv.formats import FORMATS, LearnedEmbedding, get_format, identify, write
from tinv.formats.learned_embedding import widths
from tinv.formats.programs import PROGRAMS, find_format, who_loads
from tinv.formats.text_encoders import MODELS, ModelEncoders, find_models

SD1 = LearnedEmbedding("<cat-toy>", {"clip_l": L}, {"base_model": "x/y", "steps": "3"})
SDXL = replace(SD1, vectors={"clip_l": L, "clip_g": G})
PIPELINES = {
    "SD 1": "StableDiffusionPipeline",
    "SD 2": "StableDiffusionPipeline",
    "SDXL": "StableDiffusionXLPipeline",
    "SD 3.5": "StableDiffusion3Pipeline",
    "Flux.1": "FluxPipeline",
    "Chroma": "ChromaPipeline",
    "PixArt-Sigma": "PixArtSigmaPipeline",
    "Sana": "SanaPipeline",
    "Lumina2": "Lumina2Pipeline",
    "Flux.2 dev": "Flux2Pipeline",
    "Flux.2 klein 4B": "Flux2KleinPipeline",
    "Flux.2 klein 9B": "Flux2KleinPipeline",
    "Z-Image": "ZImagePipeline",
    "Qwen-Image": "QwenImagePipeline",
    "Wan": "WanPipeline",
    "HunyuanVideo": "HunyuanVideoPipeline",
    "HiDream": "HiDreamImagePipeline",
}


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


def t5_encoder() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=200, d_model=4096, d_kv=8, d_ff=8, num_layers=1, num_heads=1))


def pipeline_of(model: ModelEncoders) -> Any:
    """Returns the pipeline of a model that diffusers loads embeddings into, with encoders of the real widths."""
    if model.title == "Flux.1":
        first = {"tokenizer": deepcopy(tiny_tokenizer()), "text_encoder": text_encoder(768)}
        second = {"tokenizer_2": t5_tokenizer(), "text_encoder_2": t5_encoder()}
        return FluxPipeline(scheduler=None, vae=None, transformer=None, **first, **second)
    if model.title == "Chroma":
        parts = {"tokenizer": t5_tokenizer(), "text_encoder": t5_encoder()}
        return ChromaPipeline(scheduler=None, vae=None, transformer=None, **parts)
    return sdxl_pipeline() if model.title == "SDXL" else pipeline(*model.widths.values())


def in_diffusers(files: list[Path], embedding: LearnedEmbedding, model: ModelEncoders) -> str:
    """Returns how an embedding is loaded into the real pipeline; checks its vectors there."""
    if not hasattr(getattr(diffusers, PIPELINES[model.title]), "load_textual_inversion"):
        return "no"
    if len(embedding.vectors) == 1:
        (vectors_KD,) = embedding.vectors.values()
        for how, options in (("yes", {}), ("`token=`", {"token": "<cat-toy>"})):
            pipe = pipeline_of(model)
            if can_load(pipe, str(files[0]), **options) and "<cat-toy>" in pipe.tokenizer.get_vocab():
                assert torch.equal(vectors_in(pipe.tokenizer, pipe.text_encoder, "<cat-toy>"), vectors_KD)
                assert pipe.maybe_convert_prompt("a <cat-toy>", pipe.tokenizer) == "a <cat-toy> <cat-toy>_1"
                return how
        return "no"
    pipe = pipeline_of(model)
    parts = {
        role: (getattr(pipe, f"tokenizer{suffix}"), getattr(pipe, f"text_encoder{suffix}"))
        for role, suffix in zip(model.widths, ("", "_2"), strict=True)
    }
    if len(files) == 2:
        how, sources = "file by file", list(map(str, files))
    else:
        assert not can_load(pipe, str(files[0]), token="<cat-toy>")
        if files[0].suffix == ".png":
            return "no"
        how, read = "tensor by tensor", load_file if files[0].suffix == ".safetensors" else torch.load
        tensors = read(files[0])
        sources = [next(v for v in tensors.values() if v.shape[1] == width) for width in model.widths.values()]
    for source, (encoder, (tokenizer, module)) in zip(sources, parts.items(), strict=True):
        token = {} if len(files) == 2 else {"token": "<cat-toy>"}
        assert can_load(pipe, source, tokenizer=tokenizer, text_encoder=module, **token)
        assert torch.equal(vectors_in(tokenizer, module, "<cat-toy>"), embedding.vectors[encoder])
    return how


def in_automatic1111(files: list[Path], embedding: LearnedEmbedding, model: ModelEncoders) -> str:
    if model.title not in ("SD 1", "SD 2", "SDXL"):  # its other models read no embeddings
        return "no"
    width = sum(model.widths.values())
    for _, loaded in filter(None, (automatic1111(file, width) for file in files)):
        expected = {"": next(iter(embedding.vectors.values()))} if "" in loaded else embedding.vectors
        assert all(same(loaded[key], vectors_KD) for key, vectors_KD in expected.items())
        return "yes"
    return "no"


def in_comfyui(files: list[Path], embedding: LearnedEmbedding, model: ModelEncoders) -> str:
    """Returns whether all tokenizers of the model get their vectors, from one file, from several, or only some do."""
    keys = COMFYUI.get(model.title, {})
    by_width = {vectors_KD.shape[1]: vectors_KD for vectors_KD in embedding.vectors.values()}
    roles = {"llama": "llama", "t5xxl": "t5"}
    expected = {key: embedding.vectors.get(roles.get(key, key), by_width.get(width)) for key, width in keys.items()}
    loaded = [
        {
            key
            for key, width in keys.items()
            if expected[key] is not None and same(comfyui(file, key, width), expected[key])
        }
        for file in files
    ]
    if not keys or not (union := set().union(*loaded)):
        return "no"
    if max(map(len, loaded)) == len(embedding.vectors):
        return "yes"
    return "halves" if len(union) == len(embedding.vectors) else "in part"


def in_invokeai(files: list[Path], embedding: LearnedEmbedding, model: ModelEncoders) -> str:
    if model.title not in ("SD 1", "SD 2", "SDXL"):  # its other models read no embeddings
        return "no"
    for loaded in filter(None, map(invokeai, files)):
        expected = {"": next(iter(embedding.vectors.values()))} if "" in loaded else embedding.vectors
        assert all(same(loaded[key], vectors_KD) for key, vectors_KD in expected.items())
        return "yes"
    return "no"


def in_onetrainer(files: list[Path], embedding: LearnedEmbedding, model: ModelEncoders) -> str:
    if model.title not in ONETRAINER or not (loaded := onetrainer(files[0], model.title)):
        return "no"
    for key, vectors_KD in loaded.items():
        assert same(vectors_KD, embedding.vectors.get(key, next(iter(embedding.vectors.values()))))
    return "yes" if len(loaded) == len(embedding.vectors) else "in part"


PROGRAM_RULES = dict(
    zip(PROGRAMS, (in_diffusers, in_automatic1111, in_comfyui, in_invokeai, in_onetrainer), strict=True)
)
EMBEDDINGS = {
    model.title: replace(SD1, vectors={role: rows(width) for role, width in model.widths.items()}) for model in MODELS
}
FILES = [
    (name, model)
    for model in MODELS
    for name in FORMATS
    for sets in [get_format(name).encoder_sets]
    if sets is None or frozenset(model.widths) in sets
]
DOCS = Path(__file__).parents[2] / "docs" / "embedding-formats.md"


@pytest.mark.filterwarnings("ignore:.*ComfyUI")
@pytest.mark.parametrize(("name", "model"), FILES, ids=lambda value: getattr(value, "title", value))
def test_the_programs_read_what_is_reported(tmp_path: Path, name: str, model: ModelEncoders) -> None:
    embedding = EMBEDDINGS[model.title]
    files = saved(tmp_path, embedding, name)
    expected = {program: rule(files, embedding, model) for program, rule in PROGRAM_RULES.items()}
    assert who_loads(name, model) == expected
    file = identify(files[0])
    format = find_format(file.content, file.layout, file.embeddings[0])
    assert format and who_loads(format, model) == expected, "some formats have the same names for some models"
    if "bin" not in name:
        assert model in find_models(
            widths(file.embeddings[0]), has_guessed_encoders=file.embeddings[0].has_guessed_encoders
        )


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def test_the_tables_of_the_documentation_are_those_of_the_tests(tmp_path: Path) -> None:
    by_title = {model.title: model for model in MODELS}
    table = [cells(line) for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    by_format = {
        (row[1].replace("`", ""), row[0].replace("SD 1, 2", "SD 1")): row[2:] for row in table if len(row) == 8
    }
    del by_format["--to", "model"]
    assert by_format.keys() == {(name, model.title) for name, model in FILES if model.title in ("SD 1", "SDXL")}
    for (name, title), (file, *answers) in by_format.items():
        assert saved(tmp_path / name / title, EMBEDDINGS[title], name)[0].name == file.strip("`")
        assert answers == list(who_loads(name, by_title[title]).values())
    by_model = {row[0]: row[1:] for row in table if len(row) == 6}
    header = by_model.pop("model")
    assert [cell.split("`")[1::2] for cell in header[1:]] == [["diffusers"], ["comfy"], ["onetrainer"], ["onetrainer"]]
    assert by_model.keys() == by_title.keys() - {"SD 1", "SD 2", "SDXL"}
    for title, (encoders, *answers) in by_model.items():
        model = by_title[title]
        assert encoders == ", ".join(f"`{role}` {width}" for role, width in model.widths.items())
        can_write = ("onetrainer", model) in FILES
        onetrainer_file = who_loads("onetrainer", model)
        assert answers == [
            who_loads("diffusers", model)["diffusers"],
            who_loads("comfy", model)["ComfyUI"],
            onetrainer_file["OneTrainer"] if can_write else "no",
            onetrainer_file["ComfyUI"] if can_write else "no",
        ]


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


def test_comfyui_gives_a_file_of_onetrainer_to_clip_alone(tmp_path: Path) -> None:
    """Nerogar/OneTrainer#514: `768 != 4096`; T5 takes the first tensor, because none is called `t5xxl`."""
    flux = replace(SD1, vectors={"clip_l": L, "t5": T5})
    (file,) = saved(tmp_path, flux, "onetrainer")
    assert same(comfyui(file, "clip_l", 768), L) and comfyui(file, "t5xxl", 4096) is None
    (file,) = saved(tmp_path, flux, "comfy")
    assert same(comfyui(file, "clip_l", 768), L) and same(comfyui(file, "t5xxl", 4096), T5)
