import pytest

from tests.tiny import tiny_images
from tinv.concept import Concept
from tinv.data.datamodule import ConceptDataModule
from tinv.errors import UserError


def image_names(folder):
    concept = Concept(placeholder_token="<cat-toy>", initializer_token="toy")
    return [path.name for path in ConceptDataModule(concept=concept, seed=0, folder=folder).images]


def test_the_image_folder_can_be_a_dataset(hub, tmp_path):
    hub.add("dataset", "somebody/cats", tiny_images(tmp_path / "cats"))
    names = image_names("hf://datasets/somebody/cats")
    assert names == image_names(str(tmp_path / "cats")) == ["0.png", "1.png", "2.png"]


def test_without_a_network_it_is_an_error(no_hub):
    with pytest.raises(UserError, match=r"set data\.folder to a local folder"):
        image_names("hf://datasets/somebody/cats")
