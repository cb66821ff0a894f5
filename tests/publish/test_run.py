"""A run that loads from the Hub and uploads to it, as a process of its own."""

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
concept.placeholder_token=my-cat concept.initializer_token=toy embedding.num_vectors=2 data.batch_size=2
data.val_draws=2 trainer.max_steps=4 trainer.accelerator=cpu trainer.val_check_interval=2
callbacks.samples.num_inference_steps=2 callbacks.samples.every_n_steps=2 callbacks.checkpoints.every_n_steps=2
""".split()
CHECKS = """
assert pipe.maybe_convert_prompt("my-cat", pipe.tokenizer) == "my-cat my-cat_1"
assert len(pipe.tokenizer("my-cat my-cat_1").input_ids) == 4
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A run on a model and images of the stand-in, uploaded to it, with all loggers that write files."""
    folder = tmp_path_factory.mktemp("published")
    with standing_in() as hub:
        hub.add("model", "somebody/tiny", tiny_pipeline(folder / "source"))
        hub.add("dataset", "somebody/cats", tiny_images(folder / "cats"))
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "HF_TOKEN": TOKEN}
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "WANDB_MODE": "offline"}
        environment["PYTHONPATH"] = str(ROOT)
        process = _run([str(ROOT / "train.py"), *SETTINGS, "logger=[tensorboard,wandb]"], folder, environment)
        (run,) = (folder / "outputs" / "cat").iterdir()
        yield hub, run, process, environment


def _run(argv, cwd, environment):
    command = [sys.executable, *argv]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def test_the_run_prints_the_url_and_uploads_no_log_and_no_checkpoint(published):
    hub, _, process, _ = published
    assert process.returncode == 0, process.stderr
    assert f"uploaded: {hub.url}/alice/cat" in process.stdout
    assert hub.repos["model", "alice/cat"].private
    names = """README.md concept_images/0.jpeg concept_images/1.jpeg concept_images/2.jpeg learned_embeds.bin
        learned_embeds.safetensors samples/step_000000.png samples/step_000004.png token_identifier.txt
        type_of_concept.txt"""
    assert sorted(hub.repos["model", "alice/cat"].files) == names.split()


def test_the_token_is_in_no_file_and_no_output(published):
    hub, run, process, _ = published
    files = [path for path in run.parents[2].rglob("*") if path.is_file()]
    names = {path.relative_to(run).parts[0] for path in files if path.is_relative_to(run)}
    assert {".hydra", "run.json", "metrics.csv", "checkpoints", "wandb", "tensorboard", "hub", "samples"} <= names
    for path in files:
        assert TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in process.stdout + process.stderr
    assert not any(TOKEN.encode() in data for data in hub.repos["model", "alice/cat"].files.values())
    assert hub.tokens == {TOKEN}


def test_the_code_of_the_card_draws_an_image(published, tmp_path):
    """With the model and the embedding from the Hub."""
    hub, _, _, environment = published
    code = re.search(r"```python\n(.*?)```", hub.repos["model", "alice/cat"].files["README.md"].decode(), re.DOTALL)
    process = _run(["-c", f"{code[1]}\n{CHECKS}"], tmp_path, environment | {"HF_HOME": str(tmp_path / "home")})
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "image.png").is_file()


def test_a_refused_upload_fails_the_command_but_not_the_run(published):
    hub, run, _, environment = published
    hub.fails["/commit/"] = 403
    (newest,) = run.glob("checkpoints/step_000004.ckpt")
    process = _run([str(ROOT / "train.py"), *SETTINGS, f"resume={newest}"], run.parents[2], environment)
    assert process.returncode == 1
    assert "has no permission" in process.stderr and "tinv push " in process.stderr
    assert "Traceback" not in process.stderr and TOKEN not in process.stderr
    assert "learned my-cat in 4 steps" in process.stdout
    assert (run / "learned_embeds.safetensors").is_file()
    hub.fails.clear()
    assert _run(["-m", "tinv.cli", "push", str(run)], run.parents[2], environment).returncode == 0
