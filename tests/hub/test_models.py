"""Models of the Hub: one commit for every part, no weights before they are wanted, nothing asked again offline."""

import copy
import json
import shutil

import pytest
import torch

from tests.models.published import LAYOUTS, padded, published, save
from tinv.errors import UserError
from tinv.models import fetch, load, load_tokenizers

OLD, NEW = "a" * 40, "b" * 40


def in_cache(cache, name, commit, folder):
    """What the Hub's client leaves of a commit."""
    place = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_revision_is_that_of_every_part(no_hub, tmp_path, name):
    """E-35: the tokenizers' and the scheduler's, too."""
    changed = copy.deepcopy(published(name))
    for part in ("tokenizer", "tokenizer_2"):
        if hasattr(changed, part):
            setattr(changed, part, padded(changed.tokenizer, "a"))
    changed.scheduler.register_to_config(beta_end=0.5)
    with torch.no_grad():
        for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
            for weight in getattr(changed, part, torch.nn.Module()).parameters():
                weight.add_(1)
    in_cache(tmp_path / "cache", "some/model", OLD, save(changed, tmp_path / "old"))
    in_cache(tmp_path / "cache", "some/model", NEW, save(published(name), tmp_path / "new"))
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
def test_a_model_is_fetched_once_in_one_variant_at_one_commit(hub, tmp_path, variant):
    folder = save(published("sdxl"), tmp_path / "m")
    published("sdxl").save_pretrained(folder, variant="fp16")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_text("not wanted")
    (folder / "sd_xl_base_1.0.safetensors").write_text("not wanted")
    stored = hub.add("model", "some/sdxl", folder)
    assert load_tokenizers("some/sdxl").keys() == {"clip_l", "clip_g"}
    assert not [name for name in hub.fetched() if name.endswith((".safetensors", ".bin"))]
    model = load("some/sdxl", variant=variant)
    weights = [name for name in hub.fetched() if name.endswith((".safetensors", ".bin"))]
    assert len(weights) == 4 and all((".fp16." in name) == (variant is not None) for name in weights)
    assert len(hub.fetched()) == len(set(hub.fetched()))
    assert model.revision == stored.sha
    commits = {path.split("/resolve/")[1].split("/")[0] for _, path in hub.asked if "/resolve/" in path}
    assert commits <= {stored.sha, "main"}


def test_a_model_of_another_kind_is_refused_before_its_weights_come(hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 9}))
    hub.add("model", "some/inpainting", folder)
    with pytest.raises(UserError, match="some/inpainting is an inpainting model"):
        load("some/inpainting")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", "transformer": ["a", "b"]}))
    hub.add("model", "some/flux", folder)
    with pytest.raises(UserError, match="some/flux is a FluxPipeline; tinv trains Stable Diffusion"):
        load("some/flux")
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_a_variant_that_the_hub_does_not_have_is_named_before_anything_comes(hub, tmp_path):
    hub.add("model", "some/plain", save(published("sd1"), tmp_path / "m"))
    with pytest.raises(UserError, match=r"come as null, not as fp16; set model\.variant"):
        load("some/plain", variant="fp16")
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_what_was_fetched_loads_without_the_hub(hub, tmp_path):
    """All that a run opens: the model, another VAE, other tokenizers, and configurations for a single file."""
    folder = save(published("sd1"), tmp_path / "m")
    hub.add("model", "some/model", folder)
    hub.add("model", "some/vae", folder / "vae")
    hub.add("model", "some/pipeline", folder)
    settings = {"vae": "some/vae", "tokenizer": "some/pipeline"}
    fetch("some/model", **settings)
    asked = len(hub.asked)
    hub.fails[".*"] = 500
    model = load("some/model", **settings)
    assert not [path for _, path in hub.asked[asked:] if "/resolve/" in path]
    assert all(
        torch.equal(value, published("sd1").vae.state_dict()[key]) for key, value in model.vae.state_dict().items()
    )


def test_a_vae_of_the_hub_can_be_pinned(no_hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    other = copy.deepcopy(published("sd1").vae)
    other.register_to_config(scaling_factor=0.5)
    other.save_pretrained(tmp_path / "vae")
    in_cache(tmp_path / "cache", "some/vae", OLD, tmp_path / "vae")
    in_cache(tmp_path / "cache", "some/vae", NEW, folder / "vae")
    assert load(str(folder), vae=f"some/vae@{OLD}").vae.config.scaling_factor == 0.5
    assert load(str(folder), vae="some/vae").vae.config.scaling_factor != 0.5
    with pytest.raises(UserError, match=r"model\.vae: some/other is neither a folder here nor"):
        load(str(folder), vae="some/other")


def test_of_a_repository_with_a_tokenizer_the_tokenizer_alone_comes(hub, tmp_path):
    folder = save(published("sd1"), tmp_path / "m")
    (folder / "tokenizer" / "model.safetensors").write_text("CLIP itself")
    hub.add("model", "some/clip", folder / "tokenizer")
    assert load_tokenizers(str(folder), tokenizer="some/clip")["clip_l"].get_vocab()
    assert {"vocab.json", "merges.txt"} <= set(hub.fetched()) and "model.safetensors" not in hub.fetched()
