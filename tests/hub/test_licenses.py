import pytest
import yaml

from tinv.config.validate import CONF_DIR
from tinv.hub.licenses import find_license


@pytest.mark.parametrize("path", sorted((CONF_DIR / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configured_model_has_a_license(path):
    model = yaml.safe_load(path.read_text(encoding="utf-8"))["pretrained"]
    assert model == "???" or find_license(model)


def test_case_and_revision_are_ignored():
    assert find_license("StabilityAI/stable-diffusion-xl-base-1.0@abc") == "openrail++"


@pytest.mark.parametrize("model", ["somebody/stable-diffusion-v1-5", "/models/stable-diffusion-v1-5", ""])
def test_an_unlisted_model_has_no_license(model):
    assert find_license(model) is None
