"""`tinv generate`: pictures from what a run left, on the model that it was learned on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from tinv import formats
from tinv.cli import main
from tinv.cli.generate import seeds
from tinv.formats import LearnedEmbedding
from tinv.inference.generate import fill_prompt, prompt_slug
from tinv.models import LatentDiffusion

FAST = ["--num-inference-steps", "2", "--guidance-scale", "2", "--device", "cpu"]


def learn(
    folder: Path, model: LatentDiffusion, word: str = "<cat-toy>", seed: int = 0, width: int | None = None
) -> Path:
    """A run's folder with an embedding in it."""
    table = model.tables["clip_l"]
    rows = table.std() * torch.randn(2, width or table.shape[1], generator=torch.Generator().manual_seed(seed))
    provenance = {"base_model": model.name, "fingerprint": model.fingerprint, "steps": "3"}
    formats.write(folder / "learned_embeds.safetensors", LearnedEmbedding(word, {"clip_l": rows}, provenance))
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[Path], str]:
    code = main(["generate", *map(str, arguments), *FAST])
    output = capsys.readouterr()
    return code, [Path(line) for line in output.out.splitlines()], output.err


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_prompt_and_seed_gives_a_picture_and_its_path(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    place = learn(tmp_path / "run", model)
    prompts = ["a {} on the beach", "a red {}"]
    code, paths, _ = run(capsys, "--embedding", place, *prompts, "--seeds", "0-1", "--out", tmp_path / "out")
    assert code == 0
    assert [path.name for path in paths] == [
        "a-cat-toy-on-the-beach_0.png",
        "a-cat-toy-on-the-beach_1.png",
        "a-red-cat-toy_0.png",
        "a-red-cat-toy_1.png",
    ]
    assert len({pixels(path).tobytes() for path in paths}) == 4


def test_a_picture_is_the_one_that_diffusers_draws_from_the_same_file(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    place = learn(tmp_path / "run", model)
    _, (ours,), _ = run(capsys, "--embedding", place, "a {} on the beach", "--seeds", "5", "--out", tmp_path / "a.png")
    pipeline = StableDiffusionPipeline.from_pretrained(model.name, safety_checker=None, dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(str(place / "learned_embeds.safetensors"))
    theirs = pipeline(
        "a <cat-toy> on the beach",
        num_inference_steps=2,
        guidance_scale=2,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    assert np.abs(pixels(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_several_words_fill_a_prompt_in_order_by_number_or_by_name(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    cat, dog = learn(tmp_path / "cat", model), learn(tmp_path / "dog", model, "<dog-toy>", seed=1)
    prompts = ["a {} and a {}", "a {0} and a {1}", "a <cat-toy> and a <dog-toy>", "a {1} and a {0}"]
    both = ["--embedding", cat, "--embedding", dog / "learned_embeds.safetensors"]
    for number, prompt in enumerate(prompts):
        code, _, _ = run(capsys, *both, prompt, "--out", tmp_path / f"{number}.png")
        assert code == 0
    first, *same, swapped = [pixels(tmp_path / f"{number}.png") for number in range(4)]
    assert all(np.array_equal(first, other) for other in same)
    assert not np.array_equal(first, swapped)


def test_two_runs_of_one_word_are_two_words(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--embedding", learn(tmp_path / "a", model), "--embedding", learn(tmp_path / "b", model, seed=1)]
    _, first, _ = run(capsys, *both, "a {0}", "--out", tmp_path / "first.png")
    _, second, _ = run(capsys, *both, "a {1}", "--out", tmp_path / "second.png")
    assert not np.array_equal(pixels(first[0]), pixels(second[0]))


def test_a_grid_is_one_sheet(tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]) -> None:
    place = learn(tmp_path / "run", model)
    for out, name in ((tmp_path / "sheet.png", "sheet.png"), (tmp_path / "folder", "grid.png")):
        code, paths, _ = run(capsys, "--embedding", place, "a {}", "a red {}", "--seeds", "0,3", "--grid", "--out", out)
        assert code == 0
        assert [path.name for path in paths] == [name]
        assert pixels(paths[0]).shape[:2] == (2 * (128 + 4 + 19) + 19 + 4, 2 * (128 + 4) + 4)


def test_a_run_lends_the_settings_of_its_samples(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    place = learn(tmp_path / "run", model)
    (place / ".hydra").mkdir()
    (place / ".hydra/config.yaml").write_text(
        json.dumps({"callbacks": {"samples": {"num_inference_steps": 3, "guidance_scale": 4.0}}})
    )
    arguments = ["generate", "--embedding", str(place), "a {}", "--device", "cpu"]
    for name, options in (
        ("run", []),
        ("told", ["--num-inference-steps", "3", "--guidance-scale", "4"]),
        ("other", ["--guidance-scale", "1.5"]),
    ):
        assert main([*arguments, *options, "--out", str(tmp_path / f"{name}.png")]) == 0
    by_run, told, other = (pixels(tmp_path / f"{name}.png") for name in ("run", "told", "other"))
    assert np.array_equal(by_run, told)
    assert not np.array_equal(by_run, other)


def test_what_a_user_gets_wrong_is_one_sentence(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    place = learn(tmp_path / "run", model)
    stranger = tmp_path / "stranger.safetensors"
    formats.write(stranger, LearnedEmbedding("<x>", {"clip_l": torch.randn(1, 32)}))
    wide = learn(tmp_path / "wide", model, width=48)
    gone = tmp_path / "gone.safetensors"
    lost = LearnedEmbedding("<y>", {"clip_l": torch.randn(1, 32)}, {"base_model": str(tmp_path / "no-model")})
    formats.write(gone, lost)
    wrong = {
        "there is no embedding file": ["--embedding", tmp_path / "nothing", "a {}"],
        "holds no learned_embeds.safetensors": ["--embedding", tmp_path, "a {}"],
        "do not name the model": ["--embedding", stranger, "a {}"],
        "were trained on": ["--embedding", place, "--embedding", gone, "a {} {}"],
        "no-model: there is no such folder": ["--embedding", gone, "a {}"],
        "width 48": ["--embedding", wide, "a {}"],
        "cannot be filled with 1 token": ["--embedding", place, "a {1}"],
        "this is one file, but there are 2 images": ["--embedding", place, "a {}", "--seeds", "0-1", "--out", "x.png"],
        "--device=warp: not available": ["--embedding", place, "a {}", "--device", "warp"],
    }
    for reason, arguments in wrong.items():
        code = main(["generate", *map(str, arguments)])
        error = capsys.readouterr().err
        assert code == 1, reason
        assert reason in error
        assert error.count("\n") == 1, error
    assert (
        main(["generate", "--embedding", str(stranger), "a {}", "--model", model.name, "--out", str(tmp_path), *FAST])
        == 0
    )


def test_a_word_learned_elsewhere_and_a_prompt_without_it_are_warned_of(
    tmp_path: Path, model: LatentDiffusion, capsys: pytest.CaptureFixture[str]
) -> None:
    place = learn(tmp_path / "run", model)
    file = formats.read(place)
    other = LearnedEmbedding(file.placeholder_token, file.vectors, {**file.provenance, "fingerprint": "0123"})
    formats.write(place / "learned_embeds.safetensors", other)
    code, _, errors = run(capsys, "--embedding", place, "a toy", "--out", tmp_path)
    assert code == 0
    assert "warning: The prompt 'a toy' contains no learned token" in errors
    assert "warning: <cat-toy> was learned on another model" in errors


@pytest.mark.parametrize(("text", "expected"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("1, 5,7-8", [1, 5, 7, 8])])
def test_seeds_are_numbers_and_ranges(text: str, expected: list[int]) -> None:
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "0-"])
def test_seeds_of_another_kind_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--embedding", "x", "a {}", f"--seeds={text}"])
    assert "0-3" in capsys.readouterr().err


def test_gaps_take_the_words_in_their_order() -> None:
    assert fill_prompt("a {} on a {}", ["<a>", "<b>"]) == "a <a> on a <b>"
    assert fill_prompt("a {1} on a {0}", ["<a>", "<b>"]) == "a <b> on a <a>"
    assert fill_prompt("a {} beside a {}", ["<a>"]) == "a <a> beside a <a>"


def test_a_slug_is_a_file_name() -> None:
    assert prompt_slug("a <cat-toy> on / the beach: 50%") == "a-cat-toy-on-the-beach-50"
    assert prompt_slug("???") == "image"
    assert len(prompt_slug("very " * 100)) <= 80


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tinv.cli import main
try:
    main(["generate", "--help"])
finally:
    print([name for name in ("torch", "numpy", "PIL") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "RUN_OR_FILE" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
