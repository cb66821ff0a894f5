"""`tinv prefetch` downloads all that a run opens: it then trains in a process that cannot open a socket."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusers import AutoencoderKL

from tests.hub.conftest import hub, no_hub
from tests.hub.standin import standing_in
from tests.tiny import tiny_images, tiny_parts, tiny_pipeline
from tinv import cli

__all__ = ["hub", "no_hub"]
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
name=cat concept.placeholder_token=my-cat concept.initializer_token=toy data.batch_size=2 data.val_draws=2
data.resolution=32 trainer.max_steps=2 trainer.accelerator=cpu callbacks=none
""".split()


def write_model(folder: Path) -> Path:
    """The tiny pipeline, with redundant copies of its weights as repositories have them."""
    tiny_pipeline(folder)
    for name in ("v1.ckpt", "unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin", "vae/model.onnx"):
        (folder / name).write_text("unused")
    return folder


def write_vae(folder: Path) -> Path:
    """Another VAE, in a repository of its own."""
    vae: AutoencoderKL = tiny_parts()["vae"]
    vae.decoder.conv_out.bias.data += 0.1
    vae.save_pretrained(folder)
    (folder / "vae-ft.ckpt").write_text("unused")
    return folder


def upload(hub, folder: Path) -> list[str]:
    """Put a model, a VAE and images onto the stand-in Hub; returns their settings, each at its commit."""
    model = hub.add("model", "somebody/tiny", write_model(folder / "model"))
    vae = hub.add("model", "somebody/vae", write_vae(folder / "vae"))
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


def test_prefetch_downloads_what_the_run_opens_once(hub, tmp_path, capsys):
    settings = upload(hub, tmp_path)
    assert cli.main(["prefetch", *settings]) == 0
    output, downloaded = capsys.readouterr().out, hub.fetched()
    assert len(set(downloaded)) == len(downloaded)
    assert not [name for name in downloaded if name.endswith((".ckpt", ".bin", ".onnx"))]
    assert "vae/diffusion_pytorch_model.safetensors" not in downloaded, "model.vae is another"
    assert {"diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "2.png"} <= {*downloaded}
    assert "model somebody/tiny@" in output and "dataset somebody/cats@" in output and "MB downloaded" in output
    hub.requests.clear()
    assert cli.main(["prefetch", *settings]) == 0
    assert "already in the cache" in capsys.readouterr().out
    assert hub.requests == []


def test_local_models_and_typos_need_no_download(capsys):
    assert cli.main(["prefetch", "+experiment=cat_toy"]) == 0
    assert capsys.readouterr().out.startswith("nothing to")
    assert cli.main(["prefetch", "+experiment=cat_toy", "model.pretraind=x"]) == 1
    assert "did you mean model.pretrained?" in capsys.readouterr().err


def test_everything_that_is_missing_is_named_at_once(hub, tmp_path, capsys):
    settings = upload(hub, tmp_path)
    hub.repos.clear()
    assert cli.main(["prefetch", *settings]) == 1
    message = capsys.readouterr().err
    assert "somebody/tiny" in message and "somebody/cats" in message and "(404)" in message


def test_without_a_network_prefetch_does_not_advise_itself(no_hub, capsys):
    settings = ["model=sd15", "data=hub", "data.folder=hf://datasets/somebody/cats", *SMALL]
    assert cli.main(["prefetch", *settings]) == 1
    message = capsys.readouterr().err
    assert message.count("Check the name, the network and HF_HUB_OFFLINE") == 2 and "tinv prefetch" not in message


def run(argv: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
        "ATTEMPTS": str(folder / "attempts"),
        **environment,
    }
    return subprocess.run(
        [sys.executable, *argv], cwd=folder, env=variables, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [True, False])
def test_a_prefetched_run_trains_without_a_socket(tmp_path, pinned):
    with standing_in() as hub:
        settings = upload(hub, tmp_path)
        if not pinned:
            settings = [text.partition("@")[0] for text in settings if "revision" not in text]
        prefetched = run(["-m", "tinv.cli", "prefetch", *settings], tmp_path, HF_ENDPOINT=hub.url)
        assert prefetched.returncode == 0, prefetched.stderr
        url = hub.url
    done = run(["-c", WITHOUT_SOCKETS, str(ROOT / "train.py"), *settings], tmp_path, HF_ENDPOINT=url)
    assert done.returncode == 0, done.stderr
    assert "learned my-cat in 2 steps" in done.stdout
    attempts = (tmp_path / "attempts").read_text() if (tmp_path / "attempts").exists() else ""
    assert not (pinned and attempts), attempts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "overrides", "missing"),
    [
        ("cat_toy_sd15", [], ["stable-diffusion-v1-5", "hf://datasets/diffusers/cat_toy_example"]),
        ("cat_toy_sdxl", [], ["stable-diffusion-xl", "hf://datasets/diffusers/cat_toy_example"]),
        ("painting_style", ["data.folder=nowhere"], ["stable-diffusion-v1-5", "nowhere: no such folder"]),
    ],
)
def test_offline_run_without_a_cache_names_everything_missing_in_seconds(tmp_path, experiment, overrides, missing):
    started, before = time.monotonic(), os.times()
    done = run(["-c", WITHOUT_SOCKETS, str(ROOT / "train.py"), f"+experiment={experiment}", *overrides], tmp_path)
    seconds = time.monotonic() - started
    after = os.times()
    assert done.returncode == 1
    for text in (*missing, "model=toybox", "data.folder"):
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < 15 or seconds < 10 * cpu_seconds, "it waited for the network"
