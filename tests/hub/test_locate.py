import time

import pytest

from tests.tiny import tiny_pipeline
from tinv.errors import UserError
from tinv.models import load


@pytest.mark.parametrize(
    "text", ["./nowhere", "/no/such/folder", "~/nothing-here", "pkg://tinv/nothing", "a/b/c", "a b"]
)
def test_a_missing_folder_and_one_without_a_pipeline_are_reported(tmp_path, text):
    with pytest.raises(UserError, match="there is no such folder or file"):
        load(text)
    with pytest.raises(UserError, match=r"no model_index\.json"):
        load(str(tmp_path))


def test_truncated_weights_and_a_missing_component_are_reported(tmp_path):
    folder = tiny_pipeline(tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot be loaded .*Is it complete"):
        load(str(folder))
    for path in (folder / "unet").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"unet/config.json is missing. Is the folder complete"):
        load(str(folder))


def test_without_a_network_the_error_comes_in_seconds_and_names_the_toybox(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"neither a folder here nor in the local Hub cache.*model=toybox"):
        load("nobody/no-such-model")
    assert time.monotonic() - started < 20
