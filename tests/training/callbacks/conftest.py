"""Hides Lightning's advice in short runs."""

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _ignore_lightning_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
