"""What is fetched ahead is all that a run opens: it trains in a process that cannot open a socket."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from tests.hub.conftest import hub
from tests.hub.standin import standing_in
from tests.tiny import tiny_images, tiny_parts, tiny_pipeline
from tinv import cli

__all__ = ["hub"]
ROOT = Path(__file__).resolve().parents[2]
WITHOUT_SOCKETS = """
import errno, os, runpy, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {arguments[1:]}\\n")
        raise OSError(errno.ENETUNREACH, "the test allows no connection")
sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SMALL = """
name=cat concept.placeholder_token=my-cat concept.initializer_token=toy data.batch_size=2 data.val_draws=2 data.resolution=32
trainer.max_steps=2 trainer.accelerator=cpu callbacks=none
""".split()


def model_of(folder: Path) -> Path:
    """The tiny pipeline as repositories have it: with copies of its weights that nobody needs."""
    tiny_pipeline(folder)
    for name in ("v1.ckpt", "unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin", "vae/model.onnx"):
        (folder / name).write_text("not wanted")
    return folder


def vae_of(folder: Path) -> Path:
    """Another VAE, alone in its repository."""
    vae: AutoencoderKL = tiny_parts()["vae"]
    vae.decoder.conv_out.bias.data += 0.1
    vae.save_pretrained(folder)
    (folder / "vae-ft.ckpt").write_text("not wanted")
    return folder


def stock(hub, folder: Path) -> list[str]:
    """Put a model, a VAE and pictures onto the stand-in; returns the settings for them, each at its commit."""
    model = hub.add("model", "somebody/tiny", model_of(folder / "model"))
    vae = hub.add("model", "somebody/vae", vae_of(folder / "vae"))
    cats = hub.add("dataset", "somebody/cats", tiny_images(folder / "cats"))
    return [
        "model=local",
        "model.pretrained=somebody/tiny",
        f"model.revision={model.sha}",
        f"model.vae=somebody/vae@{vae.sha}",
        "data=hub",
        f"data.folder=hf://datasets/somebody/cats@{cats.sha}",
        *SMALL,
    ]


def test_it_fetches_what_the_run_opens_once(hub, tmp_path, capsys):
    settings = stock(hub, tmp_path)
    assert cli.main(["prefetch", *settings]) == 0
    first, fetched = capsys.readouterr().out, hub.fetched()
    assert len(set(fetched)) == len(fetched)
    assert not [name for name in fetched if name.endswith((".ckpt", ".bin", ".onnx"))]
    assert "vae/diffusion_pytorch_model.safetensors" not in fetched  # there is another
    assert {"diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "2.png"} <= {*fetched}
    assert "model somebody/tiny@" in first and "dataset somebody/cats@" in first and "MB fetched" in first
    hub.requests.clear()
    assert cli.main(["prefetch", *settings]) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    assert hub.requests == []


def test_what_is_here_anyway_needs_nothing(capsys):
    assert cli.main(["prefetch", "+experiment=cat_toy"]) == 0
    assert capsys.readouterr().out.startswith("nothing to fetch")


def test_a_typo_is_answered_as_by_training(capsys):
    assert cli.main(["prefetch", "+experiment=cat_toy", "model.pretraind=x"]) == 1
    assert "did you mean model.pretrained?" in capsys.readouterr().err


def test_everything_that_cannot_be_had_is_named_at_once(hub, tmp_path, capsys):
    settings = stock(hub, tmp_path)
    hub.repos.clear()
    assert cli.main(["prefetch", *settings]) == 1
    said = capsys.readouterr().err
    assert "somebody/tiny" in said and "somebody/cats" in said and "(404)" in said


def run(argv: list[str], place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {
        "HF_HOME": str(place / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
        "ATTEMPTS": str(place / "attempts"),
        **environment,
    }
    return subprocess.run(
        [sys.executable, *argv], cwd=place, env=variables, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [True, False])
def test_a_prefetched_run_trains_without_a_socket(tmp_path, pinned):
    with standing_in() as hub:
        settings = stock(hub, tmp_path)
        if not pinned:
            settings = [text.partition("@")[0] for text in settings if "revision" not in text]
        fetched = run(["-m", "tinv.cli", "prefetch", *settings], tmp_path, HF_ENDPOINT=hub.url)
        assert fetched.returncode == 0, fetched.stderr
        url = hub.url
    done = run(["-c", WITHOUT_SOCKETS, str(ROOT / "train.py"), *settings], tmp_path, HF_ENDPOINT=url)
    assert done.returncode == 0, done.stderr
    assert "learned my-cat in 2 steps" in done.stdout
    attempts = (tmp_path / "attempts").read_text() if (tmp_path / "attempts").exists() else ""
    assert not (pinned and attempts), attempts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "more", "lacks"),
    [
        ("cat_toy_sd15", [], ["stable-diffusion-v1-5", "hf://datasets/diffusers/cat_toy_example"]),
        ("cat_toy_sdxl", [], ["stable-diffusion-xl", "hf://datasets/diffusers/cat_toy_example"]),
        ("painting_style", ["data.folder=nowhere"], ["stable-diffusion-v1-5", "nowhere: no such folder"]),
    ],
)
def test_without_a_network_and_a_cache_everything_is_named_in_seconds(tmp_path, experiment, more, lacks):
    started, busy = time.monotonic(), os.times()
    done = run(["-c", WITHOUT_SOCKETS, str(ROOT / "train.py"), f"+experiment={experiment}", *more], tmp_path)
    seconds = time.monotonic() - started
    now = os.times()
    assert done.returncode == 1
    for text in (*lacks, "model=toybox", "data.folder"):
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    worked = now.children_user + now.children_system - busy.children_user - busy.children_system
    assert seconds < 15 or seconds < 10 * worked, "it waited"  # a busy machine may be slow, but must not wait
