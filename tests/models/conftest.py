"""Models of the published layouts, saved and loaded once; tests must not change them."""

import copy
import shutil
from functools import cache

import pytest

from tests.models.published import LAYOUTS, published, save
from tests.tiny import tiny_images
from tinv.models import load


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The pipeline folder of each layout."""
    return {name: save(published(name), tmp_path_factory.mktemp("folders") / name) for name in LAYOUTS}


@pytest.fixture(scope="session")
def folder_of_family(tmp_path_factory):
    """folder_of_family("chroma") -> the pipeline folder of a family without a U-Net, saved as published."""
    from tests.models.published_transformers import published_transformer  # takes seconds

    root = tmp_path_factory.mktemp("families")
    return cache(lambda name: save(published_transformer(name), root / name))


@pytest.fixture(scope="session")
def model_of_family(folder_of_family):
    """model_of_family("chroma") -> the model, loaded by tinv.

    It is a copy, because the alignment of memory-mapped weights can change the last bits.
    """
    return cache(lambda name: copy.deepcopy(load(str(folder_of_family(name)))))


@pytest.fixture(scope="session")
def models(folders):
    """The model of each layout, loaded by tinv."""
    return {name: load(str(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def settings(folders, tmp_path_factory):
    """A folder with the configurations and tokenizers of each layout, without weights."""
    root = tmp_path_factory.mktemp("settings")
    without = shutil.ignore_patterns("*.safetensors")
    return {name: shutil.copytree(folder, root / name, ignore=without) for name, folder in folders.items()}


@pytest.fixture
def compose_local(compose, tmp_path):
    """compose_local(folder, "seed=1") -> settings of a run of two steps on tiny images."""
    return lambda folder, *overrides: compose(
        "model=local",
        f"model.pretrained={folder}",
        f"data.folder={tiny_images(tmp_path / 'images')}",
        "concept.placeholder_token='<cat-toy>'",
        "concept.initializer_token=toy",
        "data.val_draws=2",
        "trainer.max_steps=2",
        "trainer.accelerator=cpu",
        "callbacks.samples.seeds=[0]",
        "callbacks.samples.num_inference_steps=1",
        *overrides,
    )
