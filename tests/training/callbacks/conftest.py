"""Short runs without Lightning's advice."""

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _without_advice() -> Iterator[None]:
    """Lightning's remarks on loaders and modes are not what is tested here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
