"""One tiny model for all runs: nothing of it ever changes."""

import warnings
from collections.abc import Iterator

import pytest

from tests.tiny import tiny_model
from tinv.models import StableDiffusion


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion:
    """A tiny Stable Diffusion of the real classes, with random weights."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _without_advice() -> Iterator[None]:
    """Lightning's remarks on loaders and modes are not what is tested here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
