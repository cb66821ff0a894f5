import pytest
import yaml

from tinv.config.validate import CONF_DIR
from tinv.hub.licenses import find_license


@pytest.mark.parametrize("path", sorted((CONF_DIR / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_models_that_can_be_chosen_by_name_have_their_license(path):
    model = yaml.safe_load(path.read_text(encoding="utf-8"))["pretrained"]
    assert model == "???" or find_license(model)


def test_a_name_is_known_in_any_case_and_at_any_revision():
    assert find_license("StabilityAI/stable-diffusion-xl-base-1.0@abc") == "openrail++"


@pytest.mark.parametrize("model", ["somebody/stable-diffusion-v1-5", "/models/stable-diffusion-v1-5", ""])
def test_any_other_has_none(model):
    assert find_license(model) is None
