"""`tinv generate`: images from a run's embedding, with the model that it was trained with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from tests.conftest import run_unread
from tinv import formats
from tinv.cli import main
from tinv.cli.generate import seeds
from tinv.formats import LearnedEmbedding
from tinv.inference.generate import fill_prompt, prompt_slug
from tinv.models import LatentDiffusion

FAST = ["--num-inference-steps", "2", "--guidance-scale", "2", "--device", "cpu"]


def make_run(
    folder: Path, model: LatentDiffusion, token: str = "<cat-toy>", seed: int = 0, width: int | None = None
) -> Path:
    """Writes an embedding to a run folder."""
    table = model.tables["clip_l"]
    rows = table.std() * torch.randn(2, width or table.shape[1], generator=torch.Generator().manual_seed(seed))
    provenance = {"base_model": model.name, "fingerprint": model.fingerprint, "steps": "3"}
    formats.write(folder / "learned_embeds.safetensors", LearnedEmbedding(token, {"clip_l": rows}, provenance))
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[Path], str]:
    code = main(["generate", *map(str, arguments), *FAST])
    output = capsys.readouterr()
    return code, [Path(line) for line in output.out.splitlines()], output.err


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_prompt_and_seed_gives_an_image(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    prompts = ["a {} on the beach", "a red {}"]
    code, paths, _ = run(capsys, "--embedding", run_dir, *prompts, "--seeds", "0-1", "--out", tmp_path / "out")
    assert code == 0
    assert [path.name for path in paths] == [
        "a-cat-toy-on-the-beach_0.png",
        "a-cat-toy-on-the-beach_1.png",
        "a-red-cat-toy_0.png",
        "a-red-cat-toy_1.png",
    ]
    assert len({pixels(path).tobytes() for path in paths}) == 4


def test_an_image_equals_that_of_diffusers_with_the_same_file(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    _, (ours,), _ = run(
        capsys, "--embedding", run_dir, "a {} on the beach", "--seeds", "5", "--out", tmp_path / "a.png"
    )
    pipeline = StableDiffusionPipeline.from_pretrained(model.name, safety_checker=None, dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_textual_inversion(str(run_dir / "learned_embeds.safetensors"))
    theirs = pipeline(
        "a <cat-toy> on the beach",
        num_inference_steps=2,
        guidance_scale=2,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    assert np.abs(pixels(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_several_tokens_fill_a_prompt_in_order_by_number_or_by_name(tmp_path, model, capsys):
    cat, dog = make_run(tmp_path / "cat", model), make_run(tmp_path / "dog", model, "<dog-toy>", seed=1)
    prompts = ["a {} and a {}", "a {0} and a {1}", "a <cat-toy> and a <dog-toy>", "a {1} and a {0}"]
    embeddings = ["--embedding", cat, "--embedding", dog / "learned_embeds.safetensors"]
    for number, prompt in enumerate(prompts):
        code, _, _ = run(capsys, *embeddings, prompt, "--out", tmp_path / f"{number}.png")
        assert code == 0
    first, *same, swapped = [pixels(tmp_path / f"{number}.png") for number in range(4)]
    assert all(np.array_equal(first, other) for other in same)
    assert not np.array_equal(first, swapped)


def test_two_runs_with_the_same_token_are_two_concepts(tmp_path, model, capsys):
    embeddings = [
        "--embedding",
        make_run(tmp_path / "a", model),
        "--embedding",
        make_run(tmp_path / "b", model, seed=1),
    ]
    _, first, _ = run(capsys, *embeddings, "a {0}", "--out", tmp_path / "first.png")
    _, second, _ = run(capsys, *embeddings, "a {1}", "--out", tmp_path / "second.png")
    assert not np.array_equal(pixels(first[0]), pixels(second[0]))


def test_a_grid_is_one_image(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    for out, name in ((tmp_path / "sheet.png", "sheet.png"), (tmp_path / "folder", "grid.png")):
        code, paths, _ = run(
            capsys, "--embedding", run_dir, "a {}", "a red {}", "--seeds", "0,3", "--grid", "--out", out
        )
        assert code == 0
        assert [path.name for path in paths] == [name]
        assert pixels(paths[0]).shape[:2] == (2 * (128 + 4 + 19) + 19 + 4, 2 * (128 + 4) + 4)


def test_the_settings_of_the_run_s_samples_are_the_defaults(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    (run_dir / ".hydra").mkdir()
    (run_dir / ".hydra/config.yaml").write_text(
        json.dumps({"callbacks": {"samples": {"num_inference_steps": 3, "guidance_scale": 4.0}}})
    )
    arguments = ["generate", "--embedding", str(run_dir), "a {}", "--device", "cpu"]
    for name, options in (
        ("run", []),
        ("explicit", ["--num-inference-steps", "3", "--guidance-scale", "4"]),
        ("other", ["--guidance-scale", "1.5"]),
    ):
        assert main([*arguments, *options, "--out", str(tmp_path / f"{name}.png")]) == 0
    by_run, explicit, other = (pixels(tmp_path / f"{name}.png") for name in ("run", "explicit", "other"))
    assert np.array_equal(by_run, explicit)
    assert not np.array_equal(by_run, other)


def test_a_user_error_is_one_line(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    stranger = tmp_path / "stranger.safetensors"
    formats.write(stranger, LearnedEmbedding("<x>", {"clip_l": torch.randn(1, 32)}))
    wide = make_run(tmp_path / "wide", model, width=48)
    gone = tmp_path / "gone.safetensors"
    lost = LearnedEmbedding("<y>", {"clip_l": torch.randn(1, 32)}, {"base_model": str(tmp_path / "no-model")})
    formats.write(gone, lost)
    wrong = {
        "there is no embedding file": ["--embedding", tmp_path / "nothing", "a {}"],
        "holds no learned_embeds.safetensors": ["--embedding", tmp_path, "a {}"],
        "do not name the model": ["--embedding", stranger, "a {}"],
        "were trained on": ["--embedding", run_dir, "--embedding", gone, "a {} {}"],
        "no-model: there is no such folder": ["--embedding", gone, "a {}"],
        "width 48": ["--embedding", wide, "a {}"],
        "cannot be filled with 1 token": ["--embedding", run_dir, "a {1}"],
        "this is one file, but there are 2 images": [
            "--embedding",
            run_dir,
            "a {}",
            "--seeds",
            "0-1",
            "--out",
            "x.png",
        ],
        "--device=warp: not available": ["--embedding", run_dir, "a {}", "--device", "warp"],
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


def test_warnings_for_another_model_and_for_a_prompt_without_the_token(tmp_path, model, capsys):
    run_dir = make_run(tmp_path / "run", model)
    file = formats.read(run_dir)
    other = LearnedEmbedding(file.placeholder_token, file.vectors, {**file.provenance, "fingerprint": "0123"})
    formats.write(run_dir / "learned_embeds.safetensors", other)
    code, _, errors = run(capsys, "--embedding", run_dir, "a toy", "--out", tmp_path)
    assert code == 0
    assert "warning: The prompt 'a toy' contains no learned token" in errors
    assert "warning: <cat-toy> was learned on another model" in errors


@pytest.mark.parametrize(("text", "expected"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("1, 5,7-8", [1, 5, 7, 8])])
def test_seeds_are_numbers_and_ranges(text, expected):
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "0-"])
def test_invalid_seeds_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--embedding", "x", "a {}", f"--seeds={text}"])
    assert "0-3" in capsys.readouterr().err


def test_braces_take_the_tokens_in_order():
    assert fill_prompt("a {} on a {}", ["<a>", "<b>"]) == "a <a> on a <b>"
    assert fill_prompt("a {1} on a {0}", ["<a>", "<b>"]) == "a <b> on a <a>"
    assert fill_prompt("a {} beside a {}", ["<a>"]) == "a <a> beside a <a>"


def test_a_slug_is_a_file_name():
    assert prompt_slug("a <cat-toy> on / the beach: 50%") == "a-cat-toy-on-the-beach-50"
    assert prompt_slug("???") == "image"
    assert len(prompt_slug("very " * 100)) <= 80


def test_help_imports_nothing_heavy():
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


@pytest.mark.parametrize("merge_stderr", [False, True])
@pytest.mark.parametrize("words", [["--help"], ["from-diffusers", "--help"], ["inspect", "{file}"]], ids=" ".join)
def test_a_reader_that_ends_is_no_error(words, merge_stderr, tmp_path):
    formats.write(tmp_path / "a.safetensors", LearnedEmbedding("<a>", {"clip_l": torch.ones(1, 8)}))
    words = [word.format(file=tmp_path / "a.safetensors") for word in words]
    done = run_unread("-m", "tinv.cli", *words, merge_stderr=merge_stderr)
    assert (done.returncode, done.stderr or "") == (141, "")
