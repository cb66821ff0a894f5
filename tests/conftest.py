"""Fixtures for composing settings and walking through the front door."""

import os
import shutil
import signal
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
    """Nothing of the machine is seen: no job, no token, no cache, and no network unless that is what is tested.

    Nor is it seen that a shell in the background has its commands ignore Ctrl-C: tests press it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    own = tempfile.mkdtemp(prefix="tinv-tests-")
    config.add_cleanup(lambda: shutil.rmtree(own, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    os.environ["TINV_CACHE"] = f"{own}/cache"
    if config.option.markexpr != "network":
        for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
            os.environ.pop(name, None)
        os.environ["HF_HOME"] = f"{own}/huggingface"
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one file of tests has computed is not found by another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion of the real classes, with random weights; not to be written to."""
    from tests.tiny import tiny_pipeline  # torch: only for those that need it

    return tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(pipeline_folder: Path) -> Any:
    """That model, loaded."""
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
    """Eight samples for it."""
    from tests.tiny import tiny_data

    (found,) = tiny_data(tmp_path_factory.mktemp("pictures"), model, batch_size=8, val_draws=8).val_dataloader()
    return found


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """compose("+experiment=cat_toy", "trainer.max_steps=2") -> checked settings; the run's folder is tmp_path."""
    yield lambda *overrides: check(groups().compose(overrides, output_dir=str(tmp_path)))
    HydraConfig.instance().cfg = None


@pytest.fixture
def door(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., SimpleNamespace]]:
    """door("-m", "seed=1,2", train=...) -> code, out, err of `train.py` typed in an empty folder.

    `train` stands in for the run, so that these tests need no model.
    """
    monkeypatch.chdir(tmp_path)

    def walk(*argv: str, train: Callable[[DictConfig], Any] = lambda cfg: None) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *argv])
        monkeypatch.setitem(sys.modules, "tinv.training.run", SimpleNamespace(train=train))
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    yield walk
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
