"""Fixtures that point the Hub's client in this process to a stand-in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.hub.standin import Standin, standing_in
from tinv.hub import locate


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Standin]:
    """A stand-in for the Hub, with an empty cache."""
    with standing_in() as standin:
        _point_at(standin.url, monkeypatch, tmp_path / "cache")
        yield standin
        close_session()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An unreachable Hub, with an empty cache."""
    _point_at("http://127.0.0.1:9", monkeypatch, tmp_path / "cache")
    yield
    close_session()


def _point_at(url: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    close_session()
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    values = {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": str(cache)}
    values |= {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_TOKEN_PATH": str(cache / "token")}
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    locate._configs_of.cache_clear()
