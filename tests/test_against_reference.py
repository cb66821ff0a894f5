"""tinv computes what a script computes that trains the whole vocabulary, and the comparison would show a difference."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench import against_reference
from bench.reference.compare import Row, compare_files, compare_values, measure
from bench.reference.replay import replay
from tests.models.published import LAYOUTS, save, sdxl
from tests.tiny import tiny_images, tiny_pipeline, tiny_tokenizer
from tinv import formats
from tinv.formats import LearnedEmbedding

REFERENCE = os.environ.get("TINV_REFERENCE")
FLAGS = """--placeholder_token=<cat-toy> --initializer_token=toy --num_vectors=2 --resolution=32 --train_batch_size=2
--gradient_accumulation_steps=2 --max_train_steps=3 --lr_scheduler=cosine""".split()
needs_reference = pytest.mark.skipif(not REFERENCE, reason="TINV_REFERENCE does not name diffusers' script")


@pytest.mark.slow
def test_both_methods_are_equal_and_another_learning_rate_shows(tmp_path: Path) -> None:
    script, output = tmp_path / "textual_inversion.py", tmp_path / "reference"
    shutil.copy(Path(__file__).with_name("full_vocabulary_script.py"), script)
    model, images = tiny_pipeline(tmp_path / "model"), tiny_images(tmp_path / "images")
    flags = [*FLAGS, f"--pretrained_model_name_or_path={model}", f"--train_data_dir={images}"]
    flags += [f"--output_dir={output}", "--learning_rate=1e-2"]
    command = [script.name, *flags, "--lr_warmup_steps=1"]
    recording = against_reference.record(script, flags, tmp_path / "recording.pt")
    replayed = replay(recording, against_reference.settings(command), tmp_path / "tinv")
    rows = [*compare_values(recording, replayed), *compare_files(output, tmp_path / "tinv", str(model))]
    assert [row for row in rows if not row.is_equal] == []
    quantities = {"first loss", "gradient of the first step", "vectors after 3 steps", "diffusers loads both files"}
    assert quantities <= {row.quantity for row in rows}

    other = replay(recording, against_reference.settings([*command, "--learning_rate=2e-2"]), tmp_path / "other")
    different = {row.quantity for row in compare_values(recording, other) if not row.is_equal}
    assert "vectors after 3 steps" in different and "first loss" not in different
    shifted = replace(replayed, start=[vectors + 1e-3 for vectors in replayed.start])
    assert not next(iter(compare_values(recording, shifted))).is_equal


def run_reference(layout: str, model: Path, folder: Path) -> list[Row]:
    """Compare diffusers' own script with tinv on a few steps."""
    name = "textual_inversion_sdxl.py" if layout == "sdxl" else "textual_inversion.py"
    flags = [*against_reference.FLAGS, "--resolution=32", "--max_train_steps=3"]
    return against_reference.run(Path(str(REFERENCE)).with_name(name), model, tiny_images(folder / "images"), flags)


@pytest.mark.slow
@needs_reference
@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl"])
def test_diffusers_script_and_tinv_are_equal(layout: str, tmp_path: Path) -> None:
    pipeline = sdxl(eos=tiny_tokenizer().eos_token_id) if layout == "sdxl" else LAYOUTS[layout]()
    rows = run_reference(layout, save(pipeline, tmp_path / "model"), tmp_path)
    assert [row for row in rows if not row.is_equal] == []


@pytest.mark.slow
@needs_reference
def test_tinv_pools_at_the_end_of_the_text_where_the_script_pools_at_the_placeholder(tmp_path: Path) -> None:
    rows = run_reference("sdxl", save(sdxl(eos=2), tmp_path / "model"), tmp_path)
    is_equal = {row.quantity: row.is_equal for row in rows}
    assert is_equal["text features"] and not is_equal["pooled text features"]


def test_difference_is_relative_to_the_largest_value() -> None:
    expected, values = torch.tensor([1.0, -4.0]), torch.tensor([1.0, -4.0])
    assert measure("x", [expected], [values]).is_equal
    values[0] += 2e-4
    row = measure("x", [expected], [values])
    assert row.difference == pytest.approx(5e-5, rel=1e-2)
    assert not row.is_equal
    for other in ([torch.zeros(3)], [torch.tensor([1.0, float("nan")])], []):
        assert not measure("x", [expected], other).is_equal


def test_files_with_other_names_dtypes_or_shapes_are_different(tmp_path: Path) -> None:
    model, vectors = str(tiny_pipeline(tmp_path / "model")), torch.randn(2, 32)
    reference = {
        "same": {"<cat-toy>": vectors},
        "name": {"<other>": vectors},
        "half": {"<cat-toy>": vectors.half()},
        "fewer": {"<cat-toy>": vectors[:1].clone()},
    }
    formats.write(tmp_path / "tinv/learned_embeds.safetensors", LearnedEmbedding("<cat-toy>", {"clip_l": vectors}))
    for name, tensors in reference.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "learned_embeds.safetensors", metadata={"format": "pt"})
        rows = [*compare_files(tmp_path / name, tmp_path / "tinv", model)]
        assert all(row.is_equal for row in rows) == (name == "same"), name
