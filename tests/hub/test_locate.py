import time

import pytest

from tests.tiny import tiny_pipeline
from tinv.errors import UserError
from tinv.models import load

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    "text", ["./nowhere", "/no/such/folder", "~/nothing-here", "pkg://tinv/nothing", "a/b/c", "a b"]
)
def test_a_missing_folder_is_reported(text):
    with pytest.raises(UserError, match="there is no such folder or file"):
        load(text)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no model_index\.json"):
        load(str(tmp_path))


def test_an_incomplete_folder_is_reported(tmp_path):
    folder = tiny_pipeline(tmp_path / "model")
    for path in (folder / "unet").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"unet/config.json is missing. Is the folder complete"):
        load(str(folder))


def test_truncated_weights_are_reported(tmp_path):
    folder = tiny_pipeline(tmp_path / "model")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cannot be loaded .*Is it complete"):
        load(str(folder))


def test_without_a_network_the_error_comes_in_seconds_and_names_the_toybox(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"neither a folder here nor in the local Hub cache.*model=toybox"):
        load("nobody/no-such-model")
    assert time.monotonic() - started < 20


def test_without_a_network_a_cached_model_is_loaded(monkeypatch, tmp_path):
    snapshot = tmp_path / "models--somebody--cached" / "snapshots" / COMMIT
    tiny_pipeline(snapshot)
    (tmp_path / "models--somebody--cached" / "refs").mkdir()
    (tmp_path / "models--somebody--cached" / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load("somebody/cached").name == "somebody/cached"
