"""`tinv convert` turns any embedding into the file of another program or into a pipeline."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.formats import foreign
from tests.formats.foreign import G, L, saved
from tests.tiny import tiny_pipeline
from tinv import formats
from tinv.cli import main
from tinv.formats import LearnedEmbedding, read


@pytest.fixture
def run(capsys):
    """Runs the command; returns the exit code and its outputs."""

    def run(*arguments):
        code = main(["convert", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out.splitlines(), output.err

    return run


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("diffusers", "learned_embeds.safetensors"),
        ("diffusers_bin", "learned_embeds.bin"),
        ("a1111", "cat-toy.pt"),
        ("a1111_png", "cat-toy.png"),
        ("emb_params", "cat-toy.safetensors"),
    ],
)
def test_a_folder_gets_files_with_their_usual_names(tmp_path, run, to, name):
    source = foreign.concepts_library(tmp_path / "in").path
    code, paths, _ = run(source, tmp_path / "out", "--to", to)
    assert (code, paths) == (0, [str(tmp_path / "out" / name)])
    assert torch.equal(read(tmp_path / "out" / name).vectors["clip_l"], L[:1])
    assert read(tmp_path / "out" / name).placeholder_token == "<cat-toy>"


def test_the_two_layouts_of_sdxl_convert_into_each_other(tmp_path, run):
    source = foreign.sdxl(tmp_path / "in").path
    code, paths, _ = run(source, tmp_path / "out", "--to", "diffusers", "--token", "<cat>")
    assert code == 0
    assert [Path(path).name for path in paths] == ["learned_embeds.safetensors", "learned_embeds_2.safetensors"]
    code, paths, _ = run(tmp_path / "out", tmp_path / "back", "--to", "sdxl")
    assert (code, paths) == (0, [str(tmp_path / "back" / "cat.safetensors")])
    back = read(paths[0])
    assert (back.placeholder_token, torch.equal(back.vectors["clip_g"], G)) == ("<cat>", True)


def test_a_file_of_several_tokens_becomes_several_files(tmp_path, run):
    source = foreign.two_tokens(tmp_path / "in").path
    code, paths, _ = run(source, tmp_path / "out", "--to", "diffusers")
    assert code == 0
    assert [read(path).placeholder_token for path in paths] == ["<cat>", "<dog>"]
    assert [Path(path).name for path in paths] == ["cat.safetensors", "dog.safetensors"]


def test_a_pipeline_contains_the_token(tmp_path, run):
    model = tiny_pipeline(tmp_path / "model")
    vectors_KD = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "learned_embeds.safetensors"
    formats.write(file, LearnedEmbedding("<cat-toy>", {"clip_l": vectors_KD}, {"base_model": str(model)}))
    code, paths, _ = run(file, tmp_path / "named", "--to", "pipeline")
    assert (code, paths) == (0, [str(tmp_path / "named")])
    unnamed = saved(tmp_path / "cat-toy.safetensors", {"emb_params": vectors_KD})
    code, _, _ = run(unnamed, tmp_path / "chosen", "--to", "pipeline", "--token", "<cat-toy>", "--model", model)
    assert code == 0
    for folder in ("named", "chosen"):
        pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / folder, safety_checker=None)
        ids = pipeline.tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
        assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], vectors_KD)


def test_an_error_of_the_user_is_one_sentence(tmp_path, run):
    kohya, two = foreign.kohya(tmp_path / "kohya").path, foreign.two_tokens(tmp_path / "two").path
    xl, out = foreign.sdxl(tmp_path / "xl").path, tmp_path / "out"
    lora = saved(tmp_path / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    pair = tmp_path / "pair" / "learned_embeds.safetensors"
    saved(pair.with_name("learned_embeds_2.safetensors"), {"<other>": G})
    same_slug = saved(tmp_path / "alike.safetensors", {"<cat>": L, "cat": L})
    wrong = {
        "OUT=cat.safetensors: the format a1111 is read": [kohya, out / "cat.safetensors", "--to", "a1111"],
        "the file exists already; name another": [kohya, kohya, "--to", "emb_params"],
        "out/cat.safetensors: the file exists already": [same_slug, out, "--to", "diffusers"],
        "this is one file, but IN holds 2 tokens": [two, out / "x.safetensors", "--to", "diffusers"],
        "learned_embeds_2.safetensors: the file exists already": [xl, pair, "--to", "diffusers"],
        "--token='a/b': must not contain slashes": [kohya, out, "--to", "diffusers", "--token", "a/b"],
        "--token='clip_l': has a meaning of its own": [kohya, out, "--to", "a1111", "--token", "clip_l"],
        "token can name only one": [two, out, "--to", "diffusers", "--token", "<cat>"],
        "has no room for cat-toy": [xl, out, "--to", "emb_params"],
        "leave it out with --to a1111": [kohya, out, "--to", "a1111", "--model", "x"],
        "choose one with --model": [kohya, out, "--to", "pipeline"],
        "is a LoRA, not an embedding": [lora, out, "--to", "diffusers"],
        "there is no embedding file": [tmp_path / "gone.pt", out, "--to", "diffusers"],
    }
    for reason, arguments in wrong.items():
        code, paths, error = run(*arguments)
        assert (code, paths) == (1, []), reason
        assert reason in error.replace("\\", "/")
        assert error.count("\n") == 1
        assert not out.exists(), reason


def test_the_command_works_from_a_shell(tmp_path):
    source = foreign.a1111(tmp_path).path
    program = [sys.executable, "-m", "tinv.cli", "convert", str(source), "new.safetensors", "--to", "emb_params"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new.safetensors\n", "")
    assert torch.equal(read(tmp_path / "new.safetensors").vectors["clip_l"], L)


@pytest.mark.parametrize(
    ("to", "vectors", "messages"),
    [
        ("comfy", {"qwen3": 2560}, ["ComfyUI loads no embeddings for Z-Image: it reads <cat-toy> as ordinary words"]),
        ("comfy", {"qwen2_5_vl": 3584}, ["ComfyUI loads no embeddings for Qwen-Image"]),
        ("comfy", {"clip_l": 768, "clip_g": 1280, "t5": 4096}, ["some text encoders of SD 3.5 only"]),
        ("comfy", {"t5": 4096}, []),
        ("onetrainer", {"gemma": 2304}, ["OneTrainer loads no embeddings for Lumina2"]),
        ("diffusers", {"qwen2_5_vl": 3584}, []),
    ],
)
def test_a_program_that_ignores_the_file_is_named(tmp_path, run, to, vectors, messages):
    learned = LearnedEmbedding("<cat-toy>", {role: torch.randn(1, width) for role, width in vectors.items()})
    file = tmp_path / "learned_embeds.safetensors"
    formats.write(file, learned)
    code, _, error = run(file, tmp_path / "out", "--to", to)
    assert code == 0 and all(message in error for message in messages) and bool(messages) == bool(error.strip())
