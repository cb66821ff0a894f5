"""Runs with extended embeddings, as users type them."""

import json

import pytest
from PIL import Image, ImageChops

from tests.training.test_run import command, run, run_dir
from tinv import formats
from tinv.cli import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("per_timestep", [f"clip_l/stage.{number}" for number in range(10)]),
        ("per_layer", ["clip_l/down_blocks.1.attentions.0.transformer_blocks.0.attn2"]),
        ("negative", ["clip_l", "clip_l/negative"]),
    ],
)
def test_generate_reproduces_the_samples_of_a_run(workspace, tmp_path, kind, names):
    export = ("callbacks.export.every_n_steps=6", "callbacks.export.total_limit=1")
    done = run(command(workspace, f"name={kind}", f"embedding={kind}", "optimizer.lr=0.1", *export))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    folder = run_dir(workspace, kind)
    assert set(names) <= set(formats.read(folder).vectors)
    assert len(list(folder.glob("learned_embeds*-steps-*.safetensors"))) == (2 if kind == "negative" else 1)
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    prompts = ["a photo of a {}", "a {} on the beach", "a drawing of a {}"]
    out = tmp_path / "grid.png"
    assert main(["generate", "--embedding", str(folder), *prompts, "--grid", "--out", str(out)]) == 0
    images = [Image.open(path).convert("RGB") for path in (out, folder / "samples" / "step_000012.png")]
    assert images[0].size == images[1].size
    assert max(high for _, high in ImageChops.difference(*images).getextrema()) <= 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["embedding=per_layer", "callbacks.export.formats=[a1111]"], "callbacks.export.formats"),
        (["embedding=per_timestep", "callbacks.export.formats=[pipeline]"], "pipeline"),
        (["embedding=per_timestep", "hub.push=true", "hub.repo_id=me/word"], "hub.push"),
    ],
)
def test_impossible_exports_are_rejected_before_the_first_step(workspace, overrides, message):
    done = run(command(workspace, "name=rejected", *overrides))
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list((workspace / "outputs" / "rejected").glob("*/learned_embeds*"))
