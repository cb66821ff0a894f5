"""Silences W&B and Lightning, and makes folders of sweep runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.training.callbacks.conftest import _ignore_lightning_warnings  # noqa: F401
from tinv.training.loggers.wandb import WandbLogger


@pytest.fixture(autouse=True)
def _silence_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def logger(tmp_path: Path) -> WandbLogger:
    """An offline logger that has started its run."""
    logger = WandbLogger(tmp_path, name="x", mode="offline")
    logger.log_hyperparams({})
    return logger


@pytest.fixture
def without_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """An environment without W&B account; `without_account(NAME="value")` sets environment variables."""

    def set_variables(**variables: Any) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    set_variables(NETRC=tmp_path / "netrc", HOME=tmp_path, WANDB_CONFIG_DIR=tmp_path)
    set_variables(WANDB_BASE_URL="https://wandb.example.org")
    monkeypatch.chdir(tmp_path)
    yield set_variables
    wandb.teardown()


@pytest.fixture
def point(tmp_path: Path) -> Callable[..., Path]:
    """Returns point({"optimizer.lr": "1e-3"}, number=0), which makes the folder of a sweep point."""

    def make(swept: dict[str, str], number: int = 0) -> Path:
        sweep = tmp_path / "2026-11-22_20-00-00"
        (sweep / str(number)).mkdir(parents=True)
        (sweep / "plan.json").write_text(json.dumps({"id": "0123456789ab"}))
        (sweep / "sweep.json").write_text(json.dumps({"points": [{"point": number, "swept": swept}]}))
        return sweep / str(number)

    return make
