"""Models of the published layouts, saved and loaded once; tests must not change them."""

import pytest

from tests.models.published import LAYOUTS, published, save, save_settings
from tinv.models import load


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The pipeline folder of each layout."""
    return {name: save(published(name), tmp_path_factory.mktemp("folders") / name) for name in LAYOUTS}


@pytest.fixture(scope="session")
def models(folders):
    """The model of each layout, loaded by tinv."""
    return {name: load(str(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """A folder with the configurations and tokenizers of each layout, without weights."""
    return {name: save_settings(published(name), tmp_path_factory.mktemp("settings") / name) for name in LAYOUTS}
