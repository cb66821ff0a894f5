"""Models of the Hub: one commit for all components, no weights before they are needed, no requests offline."""

import copy
import json
import shutil

import pytest
import torch

from tests.models.published import LAYOUTS, padded, published, save
from tinv.errors import UserError
from tinv.models import fetch, load, load_tokenizers

OLD, NEW = "a" * 40, "b" * 40


def write_cache(cache, name, commit, folder):
    """Writes what the Hub's client caches of a commit."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_revision_applies_to_every_component(no_hub, tmp_path, name):
    changed = copy.deepcopy(published(name))
    for part in ("tokenizer", "tokenizer_2"):
        if hasattr(changed, part):
            setattr(changed, part, padded(changed.tokenizer, "a"))
    changed.scheduler.register_to_config(beta_end=0.5)
    with torch.no_grad():
        for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
            for weight in getattr(changed, part, torch.nn.Module()).parameters():
                weight.add_(1)
    write_cache(tmp_path / "cache", "some/model", OLD, save(changed, tmp_path / "old"))
    write_cache(tmp_path / "cache", "some/model", NEW, save(published(name), tmp_path / "new"))
    model = load("some/model", revision=OLD)
    assert (model.name, model.revision) == ("some/model", OLD)
    assert {words.pad_token for words in model.tokenizers.values()} == {"a"}
    assert {words.pad_token for words in load_tokenizers("some/model", revision=OLD).values()} == {"a"}
    assert model.scheduler.config.beta_end == 0.5
    for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
        if hasattr(model, part):
            saved = getattr(changed, part).state_dict()
            assert all(torch.equal(value, saved[key]) for key, value in getattr(model, part).state_dict().items())
    assert load("some/model").revision == NEW


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_model_is_downloaded_once_in_one_variant_at_one_commit(hub, tmp_path, variant):
    folder = save(published("sdxl"), tmp_path / "m")
    published("sdxl").save_pretrained(folder, variant="fp16")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_text("unused")
    (folder / "sd_xl_base_1.0.safetensors").write_text("unused")
    stored = hub.add("model", "some/sdxl", folder)
    assert load_tokenizers("some/sdxl").keys() == {"clip_l", "clip_g"}
    assert not [name for name in hub.fetched() if name.endswith((".safetensors", ".bin"))]
    model = load("some/sdxl", variant=variant)
    weights = [name for name in hub.fetched() if name.endswith((".safetensors", ".bin"))]
    assert len(weights) == 4 and all((".fp16." in name) == (variant is not None) for name in weights)
    assert len(hub.fetched()) == len(set(hub.fetched()))
    assert model.revision == stored.sha and model.fingerprint == load(str(folder), variant=variant).fingerprint
    commits = {path.split("/resolve/")[1].split("/")[0] for _, path in hub.requests if "/resolve/" in path}
    assert commits <= {stored.sha, "main"}


def test_an_unsupported_model_or_variant_is_refused_before_weights_are_downloaded(hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    hub.add("model", "some/plain", folder)
    with pytest.raises(UserError, match=r"exist as null, not as fp16; set model\.variant"):
        load("some/plain", variant="fp16")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 9}))
    hub.add("model", "some/inpainting", folder)
    with pytest.raises(UserError, match="some/inpainting: this is an inpainting model"):
        load("some/inpainting")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", "transformer": ["a", "b"]}))
    hub.add("model", "some/flux", folder)
    with pytest.raises(UserError, match="some/flux: this is a FluxPipeline"):
        load("some/flux")
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_downloaded_files_load_without_the_hub(hub, tmp_path):
    """Everything that a run opens: the model, another VAE, other tokenizers, and the configs of a single file."""
    folder = save(published("sd1"), tmp_path / "m")
    hub.add("model", "some/model", folder)
    hub.add("model", "some/vae", folder / "vae")
    hub.add("model", "some/pipeline", folder)
    settings = {"vae": "some/vae", "tokenizer": "some/pipeline"}
    fetch("some/model", **settings)
    num_requests = len(hub.requests)
    hub.fails[".*"] = 500
    model = load("some/model", **settings)
    assert not [path for _, path in hub.requests[num_requests:] if "/resolve/" in path]
    expected = published("sd1").vae.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.vae.state_dict().items())


def test_a_vae_can_have_a_revision(no_hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    other = copy.deepcopy(published("sd1").vae)
    other.register_to_config(scaling_factor=0.5)
    other.save_pretrained(tmp_path / "vae")
    write_cache(tmp_path / "cache", "some/vae", OLD, tmp_path / "vae")
    write_cache(tmp_path / "cache", "some/vae", NEW, folder / "vae")
    assert load(str(folder), vae=f"some/vae@{OLD}").vae.config.scaling_factor == 0.5
    assert load(str(folder), vae="some/vae").vae.config.scaling_factor != 0.5
    with pytest.raises(UserError, match=r"model\.vae=some/other: neither a folder here nor"):
        load(str(folder), vae="some/other")


def test_only_the_tokenizer_of_a_repository_is_downloaded(hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    (folder / "tokenizer" / "model.safetensors").write_text("CLIP itself")
    hub.add("model", "some/clip", folder / "tokenizer")
    assert load_tokenizers(str(folder), tokenizer="some/clip")["clip_l"].get_vocab()
    assert {"vocab.json", "merges.txt"} <= set(hub.fetched()) and "model.safetensors" not in hub.fetched()
