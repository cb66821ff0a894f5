"""tinv computes what a script with the whole vocabulary as its parameter computes, and the comparison would tell."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench import against_reference
from bench.reference import compare
from bench.reference.compare import files, measure
from bench.reference.replay import replay
from tests.models.published import LAYOUTS, save, sdxl
from tests.tiny import tiny_images, tiny_pipeline, tiny_tokenizer
from tinv import formats
from tinv.formats import LearnedEmbedding

REFERENCE = os.environ.get("TINV_REFERENCE")
FLAGS = (
    *("--placeholder_token=<cat-toy>", "--initializer_token=toy", "--num_vectors=2", "--resolution=32"),
    *("--train_batch_size=2", "--gradient_accumulation_steps=2", "--max_train_steps=3", "--lr_scheduler=cosine"),
)


@pytest.mark.slow
def test_two_routes_to_a_word_are_equal_and_another_rate_is_seen(tmp_path: Path) -> None:
    script = tmp_path / "textual_inversion.py"
    shutil.copy(Path(__file__).with_name("full_vocabulary_script.py"), script)
    model, pictures = tiny_pipeline(tmp_path / "model"), tiny_images(tmp_path / "pictures")
    theirs = [*FLAGS, f"--pretrained_model_name_or_path={model}", f"--train_data_dir={pictures}"]
    theirs += [f"--output_dir={tmp_path / 'theirs'}", "--learning_rate=1e-2"]
    ours = [script.name, *theirs, "--lr_warmup_steps=1"]
    recording = against_reference.record(script, theirs, tmp_path / "recording.pt")
    played = replay(recording, against_reference.settings(ours), tmp_path / "ours")
    rows = [*compare.computed(recording, played), *files(tmp_path / "theirs", tmp_path / "ours", str(model))]
    assert [row for row in rows if not row.is_equal] == []
    assert {"first loss", "gradient of the first step", "rows after 3 steps", "diffusers loads both files"} <= {
        row.quantity for row in rows
    }

    other = replay(recording, against_reference.settings([*ours, "--learning_rate=2e-2"]), tmp_path / "other")
    apart = {row.quantity for row in compare.computed(recording, other) if not row.is_equal}
    assert "rows after 3 steps" in apart
    assert "first loss" not in apart
    shifted = replace(played, start=[rows + 1e-3 for rows in played.start])
    assert not next(iter(compare.computed(recording, shifted))).is_equal


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="TINV_REFERENCE names no textual_inversion.py of diffusers'")
@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl"])
def test_diffusers_own_script_and_tinv_are_equal(layout: str, tmp_path: Path) -> None:
    pipeline = sdxl(eos=tiny_tokenizer().eos_token_id) if layout == "sdxl" else LAYOUTS[layout]()
    rows = by_diffusers(layout, save(pipeline, tmp_path / "model"), tmp_path)
    assert [row for row in rows if not row.is_equal] == []


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="TINV_REFERENCE names no textual_inversion.py of diffusers'")
def test_where_the_script_pools_at_the_placeholder_tinv_pools_at_the_end(tmp_path: Path) -> None:
    rows = by_diffusers("sdxl", save(sdxl(eos=2), tmp_path / "model"), tmp_path)
    verdicts = {row.quantity: row.is_equal for row in rows}
    assert verdicts["text features"]
    assert not verdicts["pooled text features"]


def by_diffusers(layout: str, model: Path, place: Path) -> list[compare.Row]:
    """diffusers' own script against tinv, on a few steps."""
    name = "textual_inversion_sdxl.py" if layout == "sdxl" else "textual_inversion.py"
    flags = [*against_reference.FLAGS, "--resolution=32", "--max_train_steps=3"]
    return against_reference.run(Path(str(REFERENCE)).with_name(name), model, tiny_images(place / "pictures"), flags)


def test_a_difference_is_told_in_shares_of_the_largest_value() -> None:
    theirs, ours = torch.tensor([1.0, -4.0]), torch.tensor([1.0, -4.0])
    assert measure("x", [theirs], [ours]).is_equal
    ours[0] += 2e-4
    row = measure("x", [theirs], [ours])
    assert row.difference == pytest.approx(5e-5, rel=1e-2)
    assert not row.is_equal
    assert not measure("x", [theirs], [torch.zeros(3)]).is_equal
    assert not measure("x", [theirs], [torch.tensor([1.0, float("nan")])]).is_equal
    assert not measure("x", [theirs], []).is_equal


def test_files_of_other_names_shapes_or_numbers_are_told_apart(tmp_path: Path) -> None:
    model = str(tiny_pipeline(tmp_path / "model"))
    rows = torch.randn(2, 32)
    written = {
        "same": {"<cat-toy>": rows},
        "name": {"<other>": rows},
        "half": {"<cat-toy>": rows.half()},
        "fewer": {"<cat-toy>": rows[:1].clone()},
    }
    formats.write(tmp_path / "ours/learned_embeds.safetensors", LearnedEmbedding("<cat-toy>", {"clip_l": rows}))
    for name, tensors in written.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "learned_embeds.safetensors", metadata={"format": "pt"})
        verdicts = [row.is_equal for row in files(tmp_path / name, tmp_path / "ours", model)]
        assert all(verdicts) == (name == "same"), name
