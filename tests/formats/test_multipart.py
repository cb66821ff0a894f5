"""Files of extended embeddings: they say what they are, are read back unchanged, and no other program accepts them."""

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
from tinv.inference import export_pipeline

STAGES = [f"clip_l/stage.{number}" for number in range(12)]
EMBEDDING = LearnedEmbedding(
    "<cat-toy>",
    {name: torch.full((2, 768), number + 0.5) for number, name in enumerate(STAGES)},
    {"base_model": "some/model", "steps": "300"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (path,) = write(tmp_path / "learned_embeds.safetensors", EMBEDDING)
    return path


def test_the_parts_are_read_back_unchanged_and_in_order(file: Path) -> None:
    result = read(file)
    assert (result.placeholder_token, result.provenance) == (EMBEDDING.placeholder_token, EMBEDDING.provenance)
    assert list(result.vectors) == STAGES
    assert all(torch.equal(result.vectors[name], vectors_KD) for name, vectors_KD in EMBEDDING.vectors.items())
    assert read(file.parent, token="<other>").placeholder_token == "<other>"


def test_the_metadata_says_what_the_file_is_and_names_no_architecture(file: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert "with its own vectors for each of 12 stages of the noise schedule" in metadata["about"]
    assert metadata["placeholder_token"] == "<cat-toy>"
    assert "modelspec.architecture" not in metadata


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_of_another_program_accepts_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"own vectors for each of 12 stages .* `tinv convert --part mean`"):
        write(tmp_path / "x", EMBEDDING, name)


def test_neither_an_exported_pipeline_nor_diffusers_loader_accepts_it(file: Path) -> None:
    with pytest.raises(UserError, match="<cat-toy>"):
        export_pipeline.check(EMBEDDING)
    pipe = StableDiffusionPipeline(**tiny_parts(), safety_checker=None, feature_extractor=None)
    with pytest.raises(ValueError, match="incorrect"):
        pipe.load_textual_inversion(file)


@pytest.mark.parametrize(
    ("num_parts", "metadata", "listed"),
    [(5, {"parts": "stage.0 stage.1"}, r"stage\.0, stage\.1"), (12, None, "nothing")],
)
def test_a_file_that_lacks_a_part_is_refused(
    tmp_path: Path, num_parts: int, metadata: dict[str, str] | None, listed: str
) -> None:
    save_file(dict(list(EMBEDDING.vectors.items())[:num_parts]), tmp_path / "x.safetensors", metadata)
    with pytest.raises(UserError, match=rf"its metadata lists \({listed}\)"):
        read(tmp_path / "x.safetensors")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_inspect_lists_each_part(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run(capsys, "inspect", file)
    assert code == 0
    assert "with its own vectors for each of 12 stages of the noise schedule" in output
    assert "clip_l/stage.11 2 vectors of width 768" in output


@pytest.mark.parametrize(("part", "value"), [("stage.3", 3.5), ("mean", 6.0)])
def test_convert_turns_a_part_into_an_ordinary_embedding(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, value: float
) -> None:
    out = tmp_path / "cat-toy.pt"
    code, _, error = run(capsys, "convert", file, out, "--to", "a1111", "--part", part)
    assert (code, error) == (0, "")
    assert torch.equal(read(out).vectors["clip_l"], torch.full((2, 768), value))
    assert read(out).provenance["part"] == part


def test_convert_asks_which_part(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ordinary,) = write(tmp_path / "o.safetensors", LearnedEmbedding("<mug>", {"clip_l": torch.ones(1, 768)}))
    for source, options, reason in (
        (file, [], "choose mean or one of stage.0, stage.1,"),
        (file, ["--part", "stage.12"], "--part=stage.12: <cat-toy> has its own vectors for each of 12 stages"),
        (ordinary, ["--part", "mean"], "--part=mean: <mug> is an ordinary embedding"),
    ):
        code, _, error = run(capsys, "convert", source, tmp_path / "out", "--to", "a1111", *options)
        assert code == 1 and reason in error and error.count("\n") == 1
