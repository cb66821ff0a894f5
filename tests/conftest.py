"""Fixtures: composed settings, `train.py` in this process, a tiny model and its data."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tests.composing import groups
from tinv.config.validate import check
from tinv.training.main import main

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Hides the machine from the tests: its Slurm job, tokens, cache, network (except for `-m network`).

    Restores SIGINT as well, which a background shell disables: some tests send it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="tinv-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    os.environ["TINV_CACHE"] = f"{folder}/cache"
    if config.option.markexpr != "network":
        for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
            os.environ.pop(name, None)
        os.environ["HF_HOME"] = f"{folder}/huggingface"
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("WANDB_MODE", "offline")


def run_unread(*arguments: str, merge_stderr: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs Python with a standard output that nobody reads, as `| head` does after its last line.

    Args:
        arguments: those of Python.
        merge_stderr: standard error is the same pipe (`2>&1`).
    """
    read, write = os.pipe()
    os.close(read)
    try:
        stderr = write if merge_stderr else subprocess.PIPE
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run([sys.executable, *arguments], stdout=write, stderr=stderr, text=True, env=variables)
    finally:
        os.close(write)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives each test file its own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion pipeline with random weights; read-only."""
    from tests.tiny import tiny_pipeline  # imports torch

    return tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(pipeline_folder: Path) -> Any:
    """The tiny model, loaded."""
    from tinv.models import load

    return load(str(pipeline_folder))


@pytest.fixture(scope="module")
def workspace(pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, with that `model` and three `images`."""
    from tests.tiny import tiny_images

    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(pipeline_folder, folder / "model")
    tiny_images(folder / "images")
    return folder


@pytest.fixture(scope="module")
def batch(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Eight training examples for the tiny model."""
    from tests.tiny import tiny_data

    (examples,) = tiny_data(tmp_path_factory.mktemp("images"), model, batch_size=8, val_draws=8).val_dataloader()
    return examples


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """compose("+experiment=cat_toy", "trainer.max_steps=2") -> checked settings of a run in tmp_path."""
    yield lambda *overrides: check(groups().compose(overrides, output_dir=str(tmp_path)))
    HydraConfig.instance().cfg = None


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., SimpleNamespace]]:
    """run_main("-m", "seed=1,2", train=...) -> code, out, err of `train.py` in an empty folder.

    `train` replaces the run, so that these tests need no model.
    """
    monkeypatch.chdir(tmp_path)

    def run(*argv: str, train: Callable[[DictConfig], Any] = lambda cfg: None) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *argv])
        monkeypatch.setitem(sys.modules, "tinv.training.run", SimpleNamespace(train=train))
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        output = capsys.readouterr()
        return SimpleNamespace(code=code, out=output.out, err=output.err)

    yield run
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for tests that are marked with `NEEDS_BROWSER`."""
    from tests.browsing import CHROMIUM, sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
