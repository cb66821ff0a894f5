"""Runs of words that are more than vectors, as their users type them: what is left, and that it draws."""

import json

import pytest
from PIL import Image, ImageChops

from tests.training.test_run import command, run, the_run
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
def test_a_run_leaves_a_word_that_generate_draws_as_its_samples_were_drawn(place, tmp_path, kind, names):
    options = (
        f"embedding={kind}",
        "optimizer.lr=0.1",
        "callbacks.export.every_n_steps=6",
        "callbacks.export.total_limit=1",
    )
    done = run(command(place, f"name={kind}", *options))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    folder = the_run(place, kind)
    assert set(names) <= set(formats.read(folder).vectors)
    assert len(list(folder.glob("learned_embeds*-steps-*.safetensors"))) == (2 if kind == "negative" else 1)
    card = json.loads((folder / "run.json").read_text())
    assert card["status"] == "finished"
    again = ["generate", "--embedding", str(folder), "a photo of a {}", "a {} on the beach", "a drawing of a {}"]
    assert main([*again, "--grid", "--out", str(tmp_path / "drawn.png")]) == 0
    drawn, sheet = (Image.open(path) for path in (tmp_path / "drawn.png", folder / "samples" / "step_000012.png"))
    assert drawn.size == sheet.size
    assert max(high for _, high in ImageChops.difference(drawn.convert("RGB"), sheet.convert("RGB")).getextrema()) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["embedding=per_layer", "callbacks.export.formats=[a1111]"],
            "callbacks.export.formats: the format a1111 has one",
        ),
        (["embedding=per_timestep", "callbacks.export.formats=[pipeline]"], "pipeline's files have room for ordinary"),
        (["embedding=per_timestep", "hub.push=true", "hub.repo_id=me/word"], "hub.push"),
    ],
)
def test_what_a_word_cannot_be_exported_as_is_refused_before_the_first_step(place, options, message):
    done = run(command(place, "name=refused", *options))
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list((place / "outputs" / "refused").glob("*/learned_embeds*"))
