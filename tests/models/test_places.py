import pytest

from tests.tiny import tiny_pipeline
from tinv.errors import UserError
from tinv.models import StableDiffusion
from tinv.models.places import resolve_model


@pytest.mark.parametrize(
    "text", ["./nowhere", "/no/such/folder", "~/nothing-here", "pkg://tinv/nothing", "a/b/c", "a b"]
)
def test_a_folder_that_is_not_there_is_said_so(text):
    with pytest.raises(UserError, match="there is no folder"):
        resolve_model(text)


def test_hub_ids_are_left_alone():
    assert resolve_model("stable-diffusion-v1-5/stable-diffusion-v1-5") == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no model_index\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="is a file"):
        resolve_model(str(tmp_path / "model.safetensors"))


def test_an_incomplete_folder_is_named(tmp_path):
    folder = tiny_pipeline(tmp_path / "model")
    for path in (folder / "unet").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"cannot load .*model.*is the folder complete"):
        StableDiffusion.load(str(folder))


def test_truncated_weights_are_named(tmp_path):
    folder = tiny_pipeline(tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot load .*is the folder complete"):
        StableDiffusion.load(str(folder))


def test_without_a_network_the_choices_are_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"neither a folder here nor in the local Hub cache.*model=toybox"):
        StableDiffusion.load("nobody/no-such-model")
