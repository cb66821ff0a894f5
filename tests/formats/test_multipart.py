"""Files of words that have parts: they say what they are, come back as they were, and nobody takes them for others."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save_file

from tests.tiny import tiny_parts
from tinv.cli import main
from tinv.errors import UserError
from tinv.formats import FORMATS, LearnedEmbedding, read, write
from tinv.inference import export_pipeline as merged

STAGES = [f"clip_l/stage.{number}" for number in range(12)]
WORD = LearnedEmbedding(
    "<cat-toy>",
    {name: torch.full((2, 768), number + 0.5) for number, name in enumerate(STAGES)},
    {"base_model": "some/model", "steps": "300"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (path,) = write(tmp_path / "learned_embeds.safetensors", WORD)
    return path


def test_a_word_comes_back_as_it_was_with_its_parts_in_their_order(file: Path) -> None:
    back = read(file)
    assert (back.placeholder_token, back.provenance) == (WORD.placeholder_token, WORD.provenance)
    assert list(back.vectors) == STAGES
    assert all(torch.equal(back.vectors[name], rows) for name, rows in WORD.vectors.items())
    assert read(file.parent, token="<other>").placeholder_token == "<other>"


def test_the_file_says_what_it_is_and_claims_no_other_programs_layout(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        texts = opened.metadata()
    assert texts["about"].startswith("textual inversion with rows of its own for each of 12 stages of the noise sched")
    assert texts["placeholder_token"] == "<cat-toy>"
    assert "modelspec.architecture" not in texts


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
def test_no_format_of_another_program_takes_it(tmp_path: Path, known: object) -> None:
    with pytest.raises(UserError, match=r"rows of its own for each of 12 stages .* `tinv convert --part mean`"):
        write(tmp_path / "x", WORD, known.name)


def test_neither_a_pipelines_files_nor_diffusers_loader_take_it(file: Path) -> None:
    with pytest.raises(UserError, match=r"room for ordinary words, <cat-toy> has rows of its own"):
        merged.check(WORD)
    pipe = StableDiffusionPipeline(**tiny_parts(), safety_checker=None, feature_extractor=None)
    with pytest.raises(ValueError, match="incorrect"):
        pipe.load_textual_inversion(file)


def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    save_file(dict(list(WORD.vectors.items())[:5]), tmp_path / "x.safetensors", {"parts": "stage.0 stage.1"})
    with pytest.raises(UserError, match=r"not those that it says it has \(stage\.0, stage\.1\)"):
        read(tmp_path / "x.safetensors")
    save_file(dict(WORD.vectors), tmp_path / "y.safetensors")
    with pytest.raises(UserError, match=r"says it has \(nothing\)"):
        read(tmp_path / "y.safetensors")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_inspect_shows_each_part(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "inspect", file)
    assert code == 0
    assert "with vectors of its own for each of 12 stages of the noise schedule" in said
    assert "clip_l/stage.11 2 vectors of width 768" in said


@pytest.mark.parametrize(("part", "value"), [("stage.3", 3.5), ("mean", 6.0)])
def test_convert_makes_an_ordinary_word_of_a_part(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, value: float
) -> None:
    out = tmp_path / "cat-toy.pt"
    code, _, error = run(capsys, "convert", file, out, "--to", "a1111", "--part", part)
    assert (code, error) == (0, "")
    assert torch.equal(read(out).vectors["clip_l"], torch.full((2, 768), value))
    assert read(out).provenance["part"] == part


def test_convert_asks_which_part(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in (
        ([], "choose those of an ordinary word with --part mean, or --part and one of stage.0, stage.1,"),
        (["--part", "stage.12"], "; got stage.12"),
    ):
        code, _, error = run(capsys, "convert", file, tmp_path / "out", "--to", "a1111", *more)
        assert code == 1 and said in error and error.count("\n") == 1
    (ordinary,) = write(tmp_path / "o.safetensors", LearnedEmbedding("<mug>", {"clip_l": torch.ones(1, 768)}))
    code, _, error = run(capsys, "convert", ordinary, tmp_path / "out", "--to", "a1111", "--part", "mean")
    assert code == 1 and "--part: <mug> is an ordinary word" in error
