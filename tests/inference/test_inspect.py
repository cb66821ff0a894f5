"""`tinv inspect`: what a file is, in words and numbers."""

from pathlib import Path

import pytest
import torch

from tests.formats import foreign
from tests.formats.foreign import saved
from tests.models.published import published, save
from tests.tiny import tiny_pipeline
from tinv import formats
from tinv.cli import main
from tinv.formats import LearnedEmbedding
from tinv.models import load


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["inspect", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_file_is_told_by_its_format_its_word_and_its_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = torch.zeros(2, 768)
    rows[0, 0], rows[1, 1] = 3.0, 4.0
    tree = foreign.a1111_tree({"*": rows.half()})
    code, said, _ = run(capsys, foreign.pickled(tmp_path / "any.pt", tree))
    assert code == 0
    lines = [line.split(maxsplit=1) for line in said.splitlines() if line]
    assert lines[1:] == [
        ["format", "AUTOMATIC1111, in a torch file"],
        ["tensor", "string_to_param * [2, 768] float16"],
        ["word", "cat-toy"],
        ["clip_l", "2 vectors of width 768"],
        ["0", "norm 3.000"],
        ["1", "norm 4.000"],
        ["sd_checkpoint", "cc6cb27103"],
        ["sd_checkpoint_name", "v1-5-pruned"],
        ["steps", "1500"],
    ]


@pytest.mark.parametrize("make", foreign.FILES, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:.*left out, which only OneTrainer uses")
def test_every_program_s_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object) -> None:
    made = make(tmp_path)
    code, said, _ = run(capsys, made.path)
    assert code == 0
    for word, vectors in made.words.items():
        assert f"word      {word}\n" in said
        for encoder, rows in vectors.items():
            assert f"of width {rows.shape[1]}" in said and encoder in said


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_the_models_words_nearest_to_the_vectors_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = save(published(name), tmp_path / "model")
    model = load(str(folder))
    number = model.tokenizer.convert_tokens_to_ids("toy</w>")
    vectors = {encoder: 2 * table[number : number + 1] for encoder, table in model.tables.items()}
    formats.write(tmp_path / "learned_embeds.safetensors", LearnedEmbedding("<cat-toy>", vectors))
    code, said, _ = run(capsys, tmp_path, "--model", folder)
    assert code == 0
    assert said.count("near toy 1.00, ") == len(vectors)
    assert said.count("in the middle of its words") == len(vectors)


def test_a_model_of_another_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_pipeline(tmp_path / "model")
    code, said, error = run(capsys, foreign.sdxl(tmp_path).path, "--model", folder)
    assert (code, said) == (1, "")
    assert "--model takes vectors of width {'clip_l': 32}" in error


def test_a_file_that_is_no_embedding_is_told_as_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora = saved(tmp_path / "lora.safetensors", {"unet.lora_up.weight": torch.ones(2, 2)})
    code, said, error = run(capsys, lora)
    assert (code, said) == (1, "")
    assert error == f"{lora} is a LoRA, not an embedding; tinv reads textual-inversion files\n"


def test_texts_of_a_file_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"note": "\x1b]0;title\x07 and \x1b[2J", "\x1b[31m": "x", "long": "y" * 1000}
    file = saved(tmp_path / "x.safetensors", {"emb_params": foreign.L}, hostile)
    code, said, _ = run(capsys, file)
    assert code == 0
    assert all(line.isprintable() for line in said.splitlines())
    assert max(map(len, said.splitlines())) < 250
