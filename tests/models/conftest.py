"""The published layouts, saved and loaded once for all tests that only look."""

import pytest

from tests.models.published import LAYOUTS, published, save, save_settings
from tinv.models import load


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Each layout's pipeline folder."""
    return {name: save(published(name), tmp_path_factory.mktemp("folders") / name) for name in LAYOUTS}


@pytest.fixture(scope="session")
def models(folders):
    """Each layout through tinv's own loader."""
    return {name: load(str(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """Each layout's configurations and tokenizers, without weights."""
    return {name: save_settings(published(name), tmp_path_factory.mktemp("settings") / name) for name in LAYOUTS}
