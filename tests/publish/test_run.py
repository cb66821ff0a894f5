"""A whole run that publishes itself, in processes of its own: from the Hub to the Hub."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.standin import TOKEN, standing_in
from tests.tiny import tiny_images, tiny_pipeline

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
model=local model.pretrained=somebody/tiny data=hub data.folder=hf://datasets/somebody/cats name=cat hub.push=true
concept.placeholder_token=my-cat concept.initializer_token=toy embedding.num_vectors=2 data.batch_size=2 data.val_draws=2
trainer.max_steps=4 trainer.accelerator=cpu trainer.val_check_interval=2 callbacks.samples.num_inference_steps=2
callbacks.samples.every_n_steps=2 callbacks.checkpoints.every_n_steps=2
""".split()
LOGGERS = ["logger=[tensorboard,wandb]"]
CHECKS = """
assert pipe.maybe_convert_prompt("my-cat", pipe.tokenizer) == "my-cat my-cat_1"
assert len(pipe.tokenizer("my-cat my-cat_1").input_ids) == 4
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A run on a model and pictures of the stand-in, uploaded to it; all loggers that write files are on."""
    place = tmp_path_factory.mktemp("published")
    with standing_in() as hub:
        hub.add("model", "somebody/tiny", tiny_pipeline(place / "source"))
        hub.add("dataset", "somebody/cats", tiny_images(place / "cats"))
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(place / "home"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "WANDB_MODE": "offline",
            "PYTHONPATH": str(ROOT),
        }
        done = _run([str(ROOT / "train.py"), *SETTINGS, *LOGGERS], place, environment)
        (run,) = (place / "outputs" / "cat").iterdir()
        yield hub, run, done, environment


def _run(argv, cwd, environment):
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_run_ends_well_and_says_where_the_word_is(published):
    hub, _, done, _ = published
    assert done.returncode == 0, done.stderr
    assert f"uploaded: {hub.url}/alice/cat" in done.stdout
    assert hub.repos["model", "alice/cat"].private


def test_no_token_in_any_file_of_the_run_nor_in_what_it_said(published):
    """E-1: the reference script writes the token into its logs, and uploads them."""
    hub, run, done, _ = published
    files = [path for path in run.parents[2].rglob("*") if path.is_file()]
    names = {path.relative_to(run).parts[0] for path in files if path.is_relative_to(run)}
    assert {".hydra", "run.json", "metrics.csv", "checkpoints", "wandb", "tensorboard", "hub", "samples"} <= names
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in data for data in hub.repos["model", "alice/cat"].files.values())
    assert hub.tokens == {TOKEN}


def test_no_log_and_no_checkpoint_was_uploaded(published):
    hub, _, _, _ = published
    assert sorted(hub.repos["model", "alice/cat"].files) == [
        "README.md",
        "concept_images/0.jpeg",
        "concept_images/1.jpeg",
        "concept_images/2.jpeg",
        "learned_embeds.bin",
        "learned_embeds.safetensors",
        "samples/step_000000.png",
        "samples/step_000004.png",
        "token_identifier.txt",
        "type_of_concept.txt",
    ]


def test_the_code_of_the_card_draws_a_picture(published, tmp_path):
    """As somebody else would run it: the model and the word come from the Hub."""
    hub, _, _, environment = published
    code = re.search(r"```python\n(.*?)```", hub.repos["model", "alice/cat"].files["README.md"].decode(), re.DOTALL)
    done = _run(["-c", f"{code[1]}\n{CHECKS}"], tmp_path, environment | {"HF_HOME": str(tmp_path / "home")})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").is_file()


def test_a_refused_upload_fails_the_command_but_not_the_run(published):
    hub, run, _, environment = published
    hub.fails["/commit/"] = 403
    (newest,) = run.glob("checkpoints/step_000004.ckpt")
    done = _run([str(ROOT / "train.py"), *SETTINGS, f"resume={newest}"], run.parents[2], environment)
    assert done.returncode == 1
    assert "does not let this token" in done.stderr and "tinv push " in done.stderr
    assert "Traceback" not in done.stderr and TOKEN not in done.stderr
    assert "learned my-cat in 4 steps" in done.stdout
    assert (run / "learned_embeds.safetensors").is_file()
    hub.fails.clear()
    assert _run(["-m", "tinv.cli", "push", str(run)], run.parents[2], environment).returncode == 0
