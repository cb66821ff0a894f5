"""`tinv convert`: any embedding in, the file of another program or a whole pipeline out."""

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
from tinv.cli.convert import FORMATS
from tinv.formats import NAMES, LearnedEmbedding, read


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = main(["convert", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_the_command_offers_every_format() -> None:
    assert FORMATS == NAMES


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
def test_a_folder_gets_files_under_their_usual_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str, name: str
) -> None:
    source = foreign.concepts_library(tmp_path / "in").path
    code, paths, _ = run(capsys, source, tmp_path / "out", "--to", to)
    assert (code, paths) == (0, [str(tmp_path / "out" / name)])
    assert torch.equal(read(tmp_path / "out" / name).vectors["clip_l"], L[:1])
    assert read(tmp_path / "out" / name).placeholder_token == "<cat-toy>"


def test_sdxls_files_turn_into_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = foreign.sdxl(tmp_path / "in").path
    code, paths, _ = run(capsys, source, tmp_path / "out", "--to", "diffusers", "--token", "<cat>")
    assert code == 0
    assert [Path(path).name for path in paths] == ["learned_embeds.safetensors", "learned_embeds_2.safetensors"]
    code, paths, _ = run(capsys, tmp_path / "out", tmp_path / "back", "--to", "sdxl")
    assert (code, paths) == (0, [str(tmp_path / "back" / "cat.safetensors")])
    back = read(paths[0])
    assert (back.placeholder_token, torch.equal(back.vectors["clip_g"], G)) == ("<cat>", True)


def test_a_file_of_several_words_becomes_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = foreign.several(tmp_path / "in").path
    code, paths, _ = run(capsys, source, tmp_path / "out", "--to", "diffusers")
    assert code == 0
    assert [read(path).placeholder_token for path in paths] == ["<cat>", "<dog>"]
    assert [Path(path).name for path in paths] == ["cat.safetensors", "dog.safetensors"]


def test_a_pipeline_draws_with_the_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_pipeline(tmp_path / "model")
    rows = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "learned_embeds.safetensors"
    formats.write(file, LearnedEmbedding("<cat-toy>", {"clip_l": rows}, {"base_model": str(model)}))
    code, paths, _ = run(capsys, file, tmp_path / "named", "--to", "pipeline")
    assert (code, paths) == (0, [str(tmp_path / "named")])
    stranger = saved(tmp_path / "cat-toy.safetensors", {"emb_params": rows})
    code, _, _ = run(capsys, stranger, tmp_path / "told", "--to", "pipeline", "--token", "<cat-toy>", "--model", model)
    assert code == 0
    for folder in ("named", "told"):
        pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / folder, safety_checker=None)
        ids = pipeline.tokenizer.convert_tokens_to_ids(["<cat-toy>", "<cat-toy>_1"])
        assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[ids], rows)


def test_what_a_user_gets_wrong_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = foreign.kohya(tmp_path / "one").path, foreign.several(tmp_path / "two").path
    both, out = foreign.sdxl(tmp_path / "both").path, tmp_path / "out"
    lora = saved(tmp_path / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    alike = saved(tmp_path / "alike.safetensors", {"<cat>": L, "cat": L})
    wrong = {
        "is read from .pt files, got cat.safetensors": [one, out / "cat.safetensors", "--to", "a1111"],
        "is there already; name another": [one, one, "--to", "emb_params"],
        "out/cat.safetensors is there already": [alike, out, "--to", "diffusers"],
        "is one file; give a folder": [two, out / "x.safetensors", "--to", "diffusers"],
        "token can name only one": [two, out, "--to", "diffusers", "--token", "<cat>"],
        "has no room for cat-toy": [both, out, "--to", "emb_params"],
        "leave it out with --to a1111": [one, out, "--to", "a1111", "--model", "x"],
        "choose one with --model": [one, out, "--to", "pipeline"],
        "is a LoRA, not an embedding": [lora, out, "--to", "diffusers"],
        "there is no embedding file": [tmp_path / "gone.pt", out, "--to", "diffusers"],
    }
    for reason, arguments in wrong.items():
        code, paths, error = run(capsys, *arguments)
        assert (code, paths) == (1, []), reason
        assert reason in error.replace("\\", "/")
        assert error.count("\n") == 1
        assert not out.exists(), reason


def test_the_command_works_from_a_shell(tmp_path: Path) -> None:
    source = foreign.a1111(tmp_path).path
    program = [sys.executable, "-m", "tinv.cli", "convert", str(source), "new.safetensors", "--to", "emb_params"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "new.safetensors\n", "")
    assert torch.equal(read(tmp_path / "new.safetensors").vectors["clip_l"], L)
