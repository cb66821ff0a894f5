"""Silences W&B and Lightning, and makes folders of sweep runs."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _ignore_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield


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
